"""Lint: BuildKit's 22 build checks over a parsed Dockerfile and the scopes of its plan."""
