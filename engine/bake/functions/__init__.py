"""The functions that expressions may call, by topic; ``library`` has them all by name."""
