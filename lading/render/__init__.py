"""Tables, templates and units as Docker prints them."""
