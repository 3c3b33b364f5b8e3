"""Containers as `run` sees them: their directories and names, their configuration, their errors."""
