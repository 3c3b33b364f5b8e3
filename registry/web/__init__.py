"""Pages for people: what the registry holds, rendered on the server, without script."""
