"""Blobs: sent whole or in part, only to who asks through a repository that has them."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from images.digest import Digest
from images.mediatype import OCTET_STREAM
from registry import ranges
from registry.answers import API_VERSION, ReadyContent, content_headers
from registry.errors import ApiError
from registry.handlers.conditional import CONDITIONAL, not_modified
from registry.routing import Target
from registry.sendfile import send_file
from registry.service import Registry

SMALL_BLOB: Final = 64 << 10
"""Blobs of up to this many bytes are answered from memory."""


async def get_blob(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.StreamResponse:
    """GET and HEAD of a blob, with single byte ranges."""
    small = registry.blobs.get(target.name, target.tail)
    told = request.method == "HEAD" and not registry.leases.fresh(target.name, target.tail)
    if small is not None and not told and request.headers.keys().isdisjoint(_SPECIAL):
        return small.answer(request, registry.date)
    digest = target.digest()
    # Read before membership is checked: what a delete overtakes must not be kept.
    generation = registry.blobs.generation(target.name)
    size = await (_size_under_lease if told else _size)(registry, target, digest)
    unchanged = not_modified(request, target.tail)
    if unchanged is not None:
        return unchanged
    headers = _headers(target.tail, size)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    selected = _range(request, size, target.tail)
    if selected is None and size <= SMALL_BLOB:
        content = await registry.workers.io(partial(registry.storage.read, digest, limit=size))
        small = ReadyContent(content, CIMultiDictProxy(headers), target.tail)
        registry.blobs.put(target.name, target.tail, small, generation=generation, size=size)
        return small.answer(request, registry.date)
    offset, count = selected or (0, size)
    status = 200
    if selected is not None:
        status = 206
        headers["Content-Range"] = f"bytes {offset}-{offset + count - 1}/{size}"
        headers["Content-Length"] = str(count)
    if registry.sender is not None:
        return await registry.sender.send(
            request, digest, headers, status=status, offset=offset, count=count
        )
    file = await registry.workers.io(partial(registry.storage.open, digest))
    try:
        response = web.StreamResponse(status=status, headers=headers)
        await send_file(
            request,
            response,
            file,
            offset,
            count,
            workers=registry.workers,
            idle=registry.config.limits.idle_timeout,
        )
    finally:
        await registry.workers.io(file.close)
    return response


async def delete_blob(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """Take the blob from this repository; others that have it keep it."""
    digest = str(target.digest())
    unlink = partial(registry.index.unlink_blob, target.name, digest)
    if not await registry.writer.write(target.name, unlink):
        raise ApiError("BLOB_UNKNOWN", detail={"digest": digest})
    return web.Response(status=202, headers=API_VERSION)


_SPECIAL: Final = CONDITIONAL | {"Range"}


async def _size(registry: Registry, target: Target, digest: Digest) -> int:
    size = registry.blob_sizes.get(target.name, target.tail)
    if size is not None:
        return size
    generation = registry.blob_sizes.generation(target.name)
    link = await registry.workers.look_up(partial(registry.index.blob, target.name, str(digest)))
    if link is None:
        raise ApiError("BLOB_UNKNOWN", detail={"digest": str(digest)})
    registry.blob_sizes.put(target.name, target.tail, link.size, generation=generation, size=0)
    return link.size


async def _size_under_lease(registry: Registry, target: Target, digest: Digest) -> int:
    """The size of a blob that a client may now rely on."""
    link = await registry.workers.look_up(partial(registry.index.blob, target.name, str(digest)))
    if link is None or not await registry.leases.blob(target.name, str(digest), link.leased):
        raise ApiError("BLOB_UNKNOWN", detail={"digest": str(digest)})
    return link.size


def _headers(digest: str, size: int) -> CIMultiDict[str]:
    headers = content_headers(OCTET_STREAM, digest, size)
    headers["Accept-Ranges"] = "bytes"
    return headers


def _range(request: web.BaseRequest, size: int, etag: str) -> tuple[int, int] | None:
    header = request.headers.get("Range")
    if header is None:
        return None
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip('"') != etag:
        return None
    try:
        return ranges.select(header, size)
    except ranges.UnsatisfiableRangeError as error:
        raise ApiError("RANGE_INVALID", headers={"Content-Range": f"bytes */{size}"}) from error
