"""Mirrors: what other registries have is brought here, and what is here to others, by schedule."""
