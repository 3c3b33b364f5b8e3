"""HCL's native syntax and its JSON form, to one kind of tree."""
