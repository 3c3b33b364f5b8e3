"""The pull gate."""
