"""Request bodies: read with a limit and a deadline, handed to threads in large pieces.

While one piece is hashed and written in a thread, the next one is received; memory per upload stays
at two pieces. A client that stalls is dropped after the idle time, one that trickles once it falls
below the least rate; both hold a coroutine until then, not a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from registry.errors import ApiError
from registry.workers import Workers

PIECE: Final = 1 << 20
"""Bytes that are gathered before a thread is bothered."""


async def receive(
    request: web.BaseRequest,
    append: Callable[[Sequence[bytes]], None],
    workers: Workers,
    *,
    limit: int | None,
    idle: float,
    rate: int = 0,
) -> int:
    """Stream a request's body into ``append``; returns the bytes taken.

    What arrived before the client went away is kept. ``limit`` is in bytes, None for none; ``idle``
    is how many seconds the client may stall, ``rate`` how many bytes a second it must send on
    average once it has been waited for that long.

    Raises:
        ApiError: 413 past the limit, 408 after a stall or from a trickle.
    """
    source = _Source(request, idle, rate)
    total = held = 0
    pieces: list[bytes] = []
    writing: asyncio.Task[None] | None = None
    try:
        while chunk := await source.next():
            total += len(chunk)
            if limit is not None and total > limit:
                raise ApiError("SIZE_INVALID", status=413, message="the upload is too long")
            pieces.append(chunk)
            held += len(chunk)
            if held >= PIECE:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(workers.io(partial(append, pieces)))
                pieces, held = [], 0
    finally:
        if writing is not None:
            await writing
        if pieces:
            await workers.io(partial(append, pieces))
    return total


async def read(request: web.BaseRequest, *, limit: int, idle: float, rate: int = 0) -> bytes:
    """Read a short body whole.

    Raises:
        ApiError: 413 past ``limit`` bytes, announced or not; 408 after a stall or from a trickle.
    """
    if (request.content_length or 0) > limit:
        raise _too_long(limit)
    source = _Source(request, idle, rate)
    pieces: list[bytes] = []
    total = 0
    while chunk := await source.next():
        total += len(chunk)
        if total > limit:
            raise _too_long(limit)
        pieces.append(chunk)
    return b"".join(pieces)


class _Source:
    """A body as it arrives, timed: only what the client is waited for counts."""

    def __init__(self, request: web.BaseRequest, idle: float, rate: int) -> None:
        self._content = request.content
        self._idle = idle
        self._rate = rate
        self._total = 0
        self._waited = 0.0

    async def next(self) -> bytes:
        """What came next; empty at the end."""
        content = self._content
        if content.at_eof():
            return b""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._idle):
                # As it came: joining what has gathered would copy the whole body once more.
                chunk, boundary = await content.readchunk()
                while boundary and not chunk:
                    chunk, boundary = await content.readchunk()
        except TimeoutError as error:
            raise _too_slow("the client stopped sending") from error
        self._total += len(chunk)
        self._waited += clock() - began
        if self._waited > self._idle and self._total < self._rate * self._waited:
            raise _too_slow(f"the client sends less than {self._rate} bytes a second")
        return chunk


def _too_slow(message: str) -> ApiError:
    return ApiError("BLOB_UPLOAD_INVALID", status=408, message=message)


def _too_long(limit: int) -> ApiError:
    return ApiError("SIZE_INVALID", status=413, message=f"the body is longer than {limit} bytes")
