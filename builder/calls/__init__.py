"""Questions about a Dockerfile that need no build: what it can be told, which targets it has."""
