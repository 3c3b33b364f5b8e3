"""Pages for people, which live in ``registry.web``."""

from __future__ import annotations

from aiohttp import web

from registry.errors import ApiError
from registry.routing import Target
from registry.service import Registry


async def serve_page(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """One page, or what a form of a page asks for; pages check rights themselves."""
    if not registry.config.web.enabled:
        raise ApiError("UNSUPPORTED", status=404, message="no such endpoint")
    return await registry.web.handle(registry, request, target.tail)
