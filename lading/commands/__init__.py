"""One module per command or family: parse flags, call a package below, render the answer."""
