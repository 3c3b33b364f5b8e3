"""Content and rows from one place to another: what backup, restore and migrate share."""
