"""Dockerfile text to typed instructions with source ranges."""
