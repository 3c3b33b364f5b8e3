"""Builds as services: where sources come from, how steps run, what becomes of the image."""
