"""``GET /v2/``: that this is a registry, and that the caller may talk to it."""

from __future__ import annotations

from aiohttp import web

from registry.answers import API_VERSION
from registry.routing import Target
from registry.service import Registry


async def get_base(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """Answer 200 with an empty object, and say that simple signatures are kept here."""
    headers = {
        **API_VERSION,
        "Content-Type": "application/json",
        "X-Registry-Supports-Signatures": "1",
    }
    return web.Response(body=b"{}", headers=headers)
