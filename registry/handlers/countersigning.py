"""What verifies the registry's own signatures: its public keys and certificates, old and new."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from registry.answers import API_VERSION
from registry.errors import ApiError
from registry.routing import Target
from registry.service import Registry

if TYPE_CHECKING:
    from registry.countersign.keyring import Keyring


async def get_keys(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """The public keys, PEM, the newest first."""
    return await _pem(registry, lambda keyring: keyring.public_keys())


async def get_certificates(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The certificates, PEM, the newest first."""
    return await _pem(registry, lambda keyring: keyring.certificates())


async def _pem(registry: Registry, read: Callable[[Keyring], bytes]) -> web.Response:
    countersigner = registry.followers.countersigner
    if countersigner is None:
        raise ApiError("UNSUPPORTED", status=404, message="this registry countersigns nothing")
    body = await registry.workers.io(lambda: read(countersigner.keyring))
    headers = {**API_VERSION, "Content-Type": "application/x-pem-file", "Cache-Control": "no-cache"}
    return web.Response(body=body, headers=headers)
