"""What commands do, free of the argument parser, for those that must start at once."""
