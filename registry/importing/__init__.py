"""Taking over what another registry has stored: its folder is read, nothing in it is changed."""
