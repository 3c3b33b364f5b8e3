"""Which extensions of the API are here (OCI distribution specification, extensions/_oci.md)."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from registry.answers import API_VERSION
from registry.routing import Target
from registry.service import Registry

_DISCOVER: Final = "_oci/ext/discover"
_SPECIFICATION: Final = "https://github.com/opencontainers/distribution-spec/blob/main"


async def get_extensions(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The extensions of the registry, or of one repository."""
    found = [
        _extension(
            "_oci", "Discovery of extensions", f"{_SPECIFICATION}/extensions/_oci.md", _DISCOVER
        )
    ]
    if not target.name:
        place = "https://distribution.github.io/distribution/spec/api/#listing-repositories"
        found.append(_extension("_catalog", "List of repositories", place, "_catalog"))
    body = orjson.dumps({"extensions": found})
    return web.Response(body=body, headers={**API_VERSION, "Content-Type": "application/json"})


def _extension(name: str, description: str, url: str, endpoint: str) -> dict[str, Any]:
    return {"name": name, "description": description, "url": url, "endpoints": [endpoint]}
