"""Blobs to clients: through this process in pieces, or by a presigned URL of the store.

Rights, conditions and sizes were judged before, from the index. A piece is read ahead while the
last one is on its way, so a GET takes two pieces of memory however slow its client is; a connection
to the store that breaks meanwhile is made again where it broke.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from multidict import CIMultiDict

from images.digest import Digest
from registry.answers import API_VERSION
from registry.s3.reading import PIECE, ObjectFile
from registry.s3.storage import ObjectStorage
from registry.workers import Workers


@dataclass(frozen=True, slots=True)
class RemoteContent:
    """How blobs leave a bucket. ``expiry`` of a URL in seconds; None sends nobody away."""

    storage: ObjectStorage
    workers: Workers
    idle: float
    expiry: float | None

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
        """Answer a GET with ``count`` bytes from ``offset``, or with where they are.

        A client takes its Range along to the URL.

        Raises:
            BlobUnknownError, ObjectStoreError: the store does not have it, or fails.
            ConnectionResetError: the client went away, or took nothing for ``idle`` seconds.
        """
        if self.expiry is not None:
            sign = partial(self.storage.url, digest, expiry=self.expiry)
            url = await self.workers.io(sign)
            answer = {**API_VERSION, "Location": url, "Docker-Content-Digest": str(digest)}
            return web.Response(status=307, headers={**answer, "Cache-Control": "no-store"})
        # Before the head of the answer is out, so that a store that fails is told as 503.
        file, piece = await self.workers.io(partial(self._open, digest, offset, count))
        response = web.StreamResponse(status=status, headers=headers)
        try:
            await self._copy(request, response, file, piece, count)
        finally:
            if not file.closed:
                await self.workers.io(file.close)
        return response

    def _open(self, digest: Digest, offset: int, count: int) -> tuple[ObjectFile, bytes]:
        file = self.storage.file(digest, offset=offset, count=count)
        try:
            return file, _next(file, count)
        except BaseException:
            file.close()
            raise

    async def _copy(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        file: ObjectFile,
        piece: bytes,
        count: int,
    ) -> None:
        left = count
        await response.prepare(request)
        while piece:
            left -= len(piece)
            if not left:
                await self._write(request, response, piece)
                break
            ahead = asyncio.create_task(self.workers.io(partial(_next, file, left)))
            try:
                await self._write(request, response, piece)
            finally:
                await asyncio.wait([ahead])
            piece = ahead.result()
        await response.write_eof()

    async def _write(
        self, request: web.BaseRequest, response: web.StreamResponse, piece: bytes
    ) -> None:
        try:
            async with asyncio.timeout(self.idle):
                await response.write(piece)
                # aiohttp lets 64 KiB gather before it waits for the client by itself.
                await request.writer.drain()
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client took nothing") from error


def _next(file: ObjectFile, left: int) -> bytes:
    """The next piece; the connection to the store goes with the last one."""
    piece = file.read(min(PIECE, left))
    if len(piece) == left:
        file.close()
    return piece
