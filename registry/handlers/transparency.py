"""The transparency log over HTTP: its head, its entries, and proofs about them.

``/v2/_lading/log/checkpoint``, ``key``, ``consistency?old&new``, ``inclusion?number&size`` and
``entries?start&n``; ``/v2/<name>/_lading/log/<tag>`` is the last entry about a tag with its proof.
Hashes and entries are base64 in JSON; the head is a C2SP signed note. Who may pull a repository may
read what the log says of its tags; the entries of all are for those who may see everything.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from registry.answers import API_VERSION
from registry.attributes import GRANT
from registry.errors import ApiError
from registry.routing import Target
from registry.service import Registry
from trust.errors import LogProofError

if TYPE_CHECKING:
    from registry.transparency.log import TransparencyLog

ENTRIES_PAGE: Final = 256
"""Most entries of one answer."""

_LARGEST: Final = 1 << 62


async def get_checkpoint(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The signed head over everything that was committed before this request."""
    head = await registry.workers.io(_log(registry).head)
    return _text(head)


async def get_key(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """The public key of the log, PEM."""
    return _text(_log(registry).public_key.pem)


async def get_consistency(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The proof that the log of ``old`` entries begins the one of ``new``."""
    log, old, new = _log(registry), _number(request, "old"), _number(request, "new")
    return await _proof(registry, partial(log.consistency, old, new))


async def get_inclusion(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The proof that entry ``number`` is in the log of ``size`` entries."""
    log, number, size = _log(registry), _number(request, "number"), _number(request, "size")
    return await _proof(registry, partial(log.inclusion, number, size))


async def get_entries(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """Up to ``n`` entries from ``start`` on."""
    log, start = _log(registry), _number(request, "start")
    if registry.authorizer.rights(request[GRANT].identity) is not None:
        raise ApiError("DENIED", message="the log's entries are for who may see every repository")
    count = min(_number(request, "n", default=ENTRIES_PAGE), ENTRIES_PAGE)
    found = await registry.workers.io(partial(log.entries, start, count))
    return _json({"start": start, "entries": [_base64(data) for data in found]})


async def get_tag_entry(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """The last entry about a tag, with its proof and the head that it holds under."""
    find = partial(_log(registry).latest, target.name, target.tail)
    found = await registry.workers.io(find)
    if found is None:
        raise ApiError("MANIFEST_UNKNOWN", message="the log knows nothing of this tag")
    return _json(
        {
            "number": found.number,
            "size": found.size,
            "entry": _base64(found.data),
            "proof": [_base64(hashed) for hashed in found.proof],
            "checkpoint": found.head.decode("utf-8"),
        }
    )


def _log(registry: Registry) -> TransparencyLog:
    log = registry.followers.log
    if log is None:
        raise ApiError("UNSUPPORTED", status=404, message="this registry keeps no transparency log")
    return log


async def _proof(registry: Registry, prove: partial[list[bytes]]) -> web.Response:
    try:
        proof = await registry.workers.io(prove)
    except LogProofError as error:
        raise ApiError("UNSUPPORTED", status=400, message=error.what) from error
    return _json({"proof": [_base64(hashed) for hashed in proof]})


def _number(request: web.BaseRequest, name: str, *, default: int | None = None) -> int:
    text = request.query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ApiError("PAGINATION_NUMBER_INVALID", detail={name: (text or "")[:100]})
    return min(int(text), _LARGEST)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(document: dict[str, Any]) -> web.Response:
    headers = {**API_VERSION, "Content-Type": "application/json", "Cache-Control": "no-cache"}
    return web.Response(body=orjson.dumps(document), headers=headers)


def _text(body: bytes) -> web.Response:
    headers = {**API_VERSION, "Content-Type": "text/plain; charset=utf-8"}
    return web.Response(body=body, headers={**headers, "Cache-Control": "no-cache"})
