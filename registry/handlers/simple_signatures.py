"""The signature extension of containers/image: OpenPGP signatures without a lookaside server.

``GET`` and ``PUT /extensions/v2/<name>/signatures/<digest>``; a signature is
``{"schemaVersion": 2, "name": "<digest>@<suffix>", "type": "atomic", "content": <base64>}``. They
are kept as they come: who pulls verifies.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import Any, Final

import orjson
from aiohttp import web

from registry import body
from registry.answers import API_VERSION
from registry.errors import ApiError
from registry.handlers.manifests import actor_of
from registry.routing import Target
from registry.service import Registry
from registry.simple_signatures import SimpleSignature

LIMIT: Final = 128 << 10
"""Bytes of one PUT; a signature with its payload is about 1 KiB."""

_SUFFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")


async def get_signatures(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """All signatures of a manifest; an empty list where there are none."""
    digest = str(target.digest())
    read = partial(registry.index.simple_signatures, target.name, digest)
    found = await registry.workers.look_up(read)
    shown = [
        {
            "schemaVersion": 2,
            "name": item.name,
            "type": "atomic",
            "content": base64.b64encode(item.content).decode(),
        }
        for item in found
    ]
    headers = {**API_VERSION, "Content-Type": "application/json"}
    return web.Response(body=orjson.dumps({"signatures": shown}), headers=headers)


async def put_signature(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """Keep one signature of a manifest that is here."""
    limits = registry.config.limits
    raw = await body.read(request, limit=LIMIT, idle=limits.idle_timeout, rate=limits.body_rate)
    digest = str(target.digest())
    signature = _parse(raw, digest)
    keep = registry.index.add_simple_signature
    add = partial(keep, target.name, digest, signature, actor=actor_of(request))
    await registry.writer.write(target.name, add)
    return web.Response(status=201, headers=API_VERSION)


def _parse(raw: bytes, digest: str) -> SimpleSignature:
    try:
        document: Any = orjson.loads(raw)
        name, content = str(document["name"]), document["content"]
        if document["schemaVersion"] != 2 or document["type"] != "atomic":
            raise ValueError("neither version 2 nor atomic")
        decoded = base64.b64decode(content, validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise ApiError("MANIFEST_INVALID", message=f"not a signature: {error}") from error
    of, at, suffix = name.rpartition("@")
    if of != digest or not at or not _SUFFIX.match(suffix):
        raise ApiError("MANIFEST_INVALID", message="a signature's name is <digest>@<suffix>")
    return SimpleSignature(name, decoded)
