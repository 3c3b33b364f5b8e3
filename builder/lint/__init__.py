"""Lint: BuildKit's 22 build checks over a parsed Dockerfile and the scopes of its plan, and our own
rules over the whole file and the shell text of its RUN instructions.
"""
