"""Files to sockets: by sendfile(2) on plain TCP, in pieces through memory under TLS.

uvloop has no sendfile, and asyncio's may wait for the disk in the event loop. Here a thread sends
until the socket is full, and the loop waits until it has room again: a slow client holds no thread.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import BinaryIO, Final, Protocol

from aiohttp import web
from multidict import CIMultiDict

from images.digest import Digest
from registry.answers import REQUEST_ID_HEADER
from registry.attributes import REQUEST_ID
from registry.workers import Workers

_PIECE: Final = 32 << 10
"""What a slow client under TLS holds in memory, a few times over: plain, sealed, and queued."""

_BURST: Final = 8 << 20
"""Most bytes sent in one go by a thread, so that many fast clients share the pool fairly."""


class BlobSender(Protocol):
    """Sends blobs that are no files of this machine."""

    async def send(
        self,
        request: web.BaseRequest,
        digest: Digest,
        headers: CIMultiDict[str],
        *,
        status: int,
        offset: int,
        count: int,
    ) -> web.StreamResponse:
        """Answer a GET with ``count`` bytes from ``offset``, or with where they are."""
        ...


async def send_file(
    request: web.BaseRequest,
    response: web.StreamResponse,
    file: BinaryIO,
    offset: int,
    count: int,
    *,
    workers: Workers,
    idle: float,
) -> None:
    """Send ``count`` bytes from ``offset``; ``response`` has its Content-Length already.

    Raises:
        ConnectionResetError: the client went away, or took nothing for ``idle`` seconds.
    """
    name = request.get(REQUEST_ID)
    if name is not None:
        response.headers[REQUEST_ID_HEADER] = name
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    if transport.get_extra_info("sslcontext") is None:
        await _flush(request, transport, idle)
        await _send_plain(transport, file, offset, count, workers=workers, idle=idle)
    else:
        await _send_copied(request, response, file, offset, count, workers=workers, idle=idle)
    await response.write_eof()


async def _flush(request: web.BaseRequest, transport: asyncio.Transport, idle: float) -> None:
    """Push the headers out and wait until nothing of them is left in the transport."""
    request.writer.send_headers()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + idle
    delay = 0.0
    while transport.get_write_buffer_size():
        if transport.is_closing() or loop.time() > deadline:
            transport.abort()
            raise ConnectionResetError("the client went away")
        await asyncio.sleep(delay)
        delay = min(delay + 0.001, 0.05)


async def _send_plain(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    *,
    workers: Workers,
    idle: float,
) -> None:
    # A duplicate, since the loop does not let others wait on a descriptor of its transports.
    out = os.dup(transport.get_extra_info("socket").fileno())
    try:
        end = offset + count
        while offset < end:
            burst = min(end - offset, _BURST)
            sent = await workers.io(partial(_send_burst, out, file.fileno(), offset, burst))
            offset += sent
            if offset < end and sent < burst:
                await _writable(out, transport, idle)
    finally:
        os.close(out)


def _send_burst(out: int, source: int, offset: int, count: int) -> int:
    """Send until done or until the socket is full; returns the bytes sent."""
    sent = 0
    while sent < count:
        try:
            step = os.sendfile(out, source, offset + sent, count - sent)
        except BlockingIOError:
            break
        if step == 0:
            raise ConnectionResetError("the file ended early")
        sent += step
    return sent


async def _writable(out: int, transport: asyncio.Transport, idle: float) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(out, _settle, ready)
    try:
        async with asyncio.timeout(idle):
            await ready
    except TimeoutError as error:
        transport.abort()
        raise ConnectionResetError("the client took nothing") from error
    finally:
        loop.remove_writer(out)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _send_copied(
    request: web.BaseRequest,
    response: web.StreamResponse,
    file: BinaryIO,
    offset: int,
    count: int,
    *,
    workers: Workers,
    idle: float,
) -> None:
    end = offset + count
    while offset < end:
        data = await _read(file.fileno(), offset, min(_PIECE, end - offset), workers)
        if not data:
            raise ConnectionResetError("the file ended early")
        try:
            async with asyncio.timeout(idle):
                await response.write(data)
                # aiohttp lets 64 KiB gather before it waits for the client by itself.
                await request.writer.drain()
        except TimeoutError as error:
            # Part of the answer is out: nothing but the end of the connection can follow it.
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client took nothing") from error
        offset += len(data)


async def _read(source: int, offset: int, count: int, workers: Workers) -> bytes | bytearray:
    """Bytes from the page cache at once; from the disk by a thread (preadv2(2), RWF_NOWAIT)."""
    piece = bytearray(count)
    try:
        found = os.preadv(source, [piece], offset, os.RWF_NOWAIT)
    except OSError:  # not cached, or a file system that cannot tell
        return await workers.io(partial(os.pread, source, count, offset))
    del piece[found:]
    return piece
