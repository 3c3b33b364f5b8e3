"""The pull gate: repositories that serve only what satisfies a key policy."""
