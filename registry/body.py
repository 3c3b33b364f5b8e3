"""Request bodies: read with a limit and a deadline, handed to threads in large pieces.

While one piece is hashed and written in a thread, the next one is received; memory per upload stays
at two pieces. A client that stalls is dropped after the idle time, and holds a coroutine until
then, not a thread.
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
) -> int:
    """Stream a request's body into ``append``; returns the bytes taken.

    What arrived before the client went away is kept. ``limit`` is in bytes, None for none; ``idle``
    is how many seconds the client may stall.

    Raises:
        ApiError: 413 past the limit, 408 after a stall.
    """
    total = held = 0
    pieces: list[bytes] = []
    writing: asyncio.Task[None] | None = None
    try:
        while chunk := await _next(request, idle):
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


async def read(request: web.BaseRequest, *, limit: int, idle: float) -> bytes:
    """Read a short body whole.

    Raises:
        ApiError: 413 past ``limit`` bytes, announced or not; 408 after a stall.
    """
    if (request.content_length or 0) > limit:
        raise _too_long(limit)
    pieces: list[bytes] = []
    total = 0
    while chunk := await _next(request, idle):
        total += len(chunk)
        if total > limit:
            raise _too_long(limit)
        pieces.append(chunk)
    return b"".join(pieces)


async def _next(request: web.BaseRequest, idle: float) -> bytes:
    content = request.content
    if content.at_eof():
        return b""
    try:
        async with asyncio.timeout(idle):
            return await content.readany()
    except TimeoutError as error:
        raise ApiError(
            "BLOB_UPLOAD_INVALID", status=408, message="the client stopped sending"
        ) from error


def _too_long(limit: int) -> ApiError:
    return ApiError("SIZE_INVALID", status=413, message=f"the body is longer than {limit} bytes")
