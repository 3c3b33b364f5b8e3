"""The record of builds: written, read, compared, forgotten."""
