"""Containers and images as services: what the command line and the Engine API call."""
