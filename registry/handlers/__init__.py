"""One small handler per verb of the distribution specification.

Every handler has the same shape: ``(registry, request, target) -> response``; it raises
``ApiError`` to refuse. Rights were checked before it runs.
"""
