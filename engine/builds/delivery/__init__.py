"""What becomes of a finished build: names, registries, files and directories."""
