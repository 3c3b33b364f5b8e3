"""A blob on its way from an upstream to the store, and to every client that waits for it.

The bytes go into a stage, as those of an upload do; clients read the stage through descriptors of
their own, each at its own pace. The last byte is held back until the digest is known to be right
and the index has the blob, so what was not verified is never received whole. Nothing is readable by
later requests before that either, and a stage that is left by a killed process is swept as idle.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from functools import partial
from typing import BinaryIO, Final, Protocol, runtime_checkable

from aiohttp import web

from images.client.download import BlobRequest, stream
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCTET_STREAM
from registry.answers import REQUEST_ID_HEADER, content_headers
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.proxy.upstream import Upstream
from registry.service import Registry

_BATCH: Final = 256 << 10
"""Bytes that are written, and sent, at once."""


@runtime_checkable
class ReadableStage(Protocol):
    """A stage whose bytes can be read while it grows."""

    def reader(self) -> BinaryIO:
        """The bytes so far and those to come; raises FileNotFoundError once it is a blob."""
        ...


class BlobFlight:
    """One blob under way; used from the event loop only."""

    def __init__(self) -> None:
        self.size = 0
        self.stage: ReadableStage | None = None
        self.opened = asyncio.Event()
        """It is known how long the blob is and where its bytes can be read, or how this ended."""
        self._received = 0
        self._moved = asyncio.Event()
        self._landed = False
        self._failed = False

    def begin(self, size: int, stage: object) -> None:
        """Bytes are about to come."""
        self.size = size
        self.stage = stage if isinstance(stage, ReadableStage) else None
        self.opened.set()

    def advance(self, count: int) -> None:
        """So many bytes more are in the stage."""
        self._received += count
        self._wake()

    def end(self, *, landed: bool) -> None:
        """The blob is in the store, or will not be."""
        self._landed, self._failed = landed, not landed
        self.opened.set()
        self._wake()

    async def beyond(self, position: int) -> int:
        """Up to where bytes may be sent, more than ``position``.

        Raises:
            ConnectionResetError: they will not come.
        """
        while True:
            if self._failed:
                raise ConnectionResetError("the upstream did not keep its promise")
            end = self.size if self._landed else min(self._received, self.size - 1)
            if end > position:
                return end
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


async def bring(
    registry: Registry, upstream: Upstream, flight: BlobFlight, wanted: BlobRequest, name: str
) -> None:
    """Fetch ``wanted`` into the repository ``name``; returns when it is there durably.

    Raises:
        RegistryError of the client, DigestMismatchError: the upstream's fault; nothing is kept.
        PolicyError: a rule here forbids it. OSError: the disk fails.
    """
    digest, size = wanted.descriptor.digest, wanted.descriptor.size
    async with registry.uploads.single(digest.algorithm) as stage:
        flight.begin(size, stage)
        async with aclosing(stream(upstream.transport, wanted)) as chunks:
            pending: list[bytes] = []
            gathered = 0
            async for chunk in chunks:
                pending.append(chunk)
                gathered += len(chunk)
                if gathered >= _BATCH:
                    await registry.workers.io(partial(stage.append, pending))
                    flight.advance(gathered)
                    pending, gathered = [], 0
        await registry.workers.io(partial(stage.append, pending))
        flight.advance(gathered)
        await registry.workers.io(partial(stage.commit, digest))
        link = partial(registry.index.link_blob, name, str(digest), size)
        await registry.writer.write(name, link)


async def check_room(registry: Registry, name: str, size: int) -> None:
    """Refuse what would be fetched in vain.

    Raises:
        ApiError: DENIED or SIZE_INVALID.
    """
    limit = registry.config.limits.blob_size
    if limit is not None and size > limit:
        message = f"blobs of more than {limit} bytes are not taken here, this one has {size}"
        raise ApiError("SIZE_INVALID", status=413, message=message)
    if registry.config.quotas:
        room = await registry.workers.look_up(partial(registry.index.room, name))
        if room is not None and size > room:
            raise ApiError("DENIED", message=f"the quota of {name} has no room for {size} bytes")


async def follow(
    registry: Registry, request: web.BaseRequest, flight: BlobFlight, digest: Digest
) -> web.StreamResponse | None:
    """Send the blob while it comes; None when it is better sent from the store.

    Raises:
        ConnectionResetError: the client went away, or the bytes will not come.
    """
    if flight.stage is None:
        return None
    try:
        file = await registry.workers.io(flight.stage.reader)
    except FileNotFoundError:
        return None
    try:
        response = web.StreamResponse(headers=_headers(request, digest, flight.size))
        await response.prepare(request)
        try:
            await _send(registry, response, flight, file)
        except (ConnectionResetError, TimeoutError) as error:
            # What was promised cannot be kept, and only a broken connection says so.
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError(str(error)) from error
        await response.write_eof()
    finally:
        await registry.workers.io(file.close)
    return response


async def _send(
    registry: Registry, response: web.StreamResponse, flight: BlobFlight, file: BinaryIO
) -> None:
    position = 0
    while position < flight.size:
        end = await flight.beyond(position)
        count = min(end - position, _BATCH)
        piece = await registry.workers.io(partial(os.pread, file.fileno(), count, position))
        async with asyncio.timeout(registry.config.limits.idle_timeout):
            await response.write(piece)
        position += len(piece)


def _headers(request: web.BaseRequest, digest: Digest, size: int) -> dict[str, str]:
    headers = {**content_headers(OCTET_STREAM, str(digest), size), "Accept-Ranges": "bytes"}
    name = request.get(REQUEST_ID)
    if name is not None:
        headers[REQUEST_ID_HEADER] = name
    return headers


def wanted_blob(upstream: Upstream, rest: str, digest: Digest, size: int) -> BlobRequest:
    """What to ask the upstream for."""
    return BlobRequest(upstream.repository(rest), Descriptor(OCTET_STREAM, digest, size))
