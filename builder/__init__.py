"""Dockerfile in, image out: plan, cache, solver, layers."""
