"""``/metrics``, ``/healthz`` and ``/readyz``, on an address apart from the clients' one.

Healthy is a worker that answers. Ready is one that also takes requests and can store what is
pushed: not while it drains, not with a disk that is full or cannot be written, not without the
database that it shares with others, and not once a newer release has taken that over.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from registry.backing import Backing
from registry.database import Barrier
from registry.drain import Drain
from registry.room import Room
from registry.sql.errors import DatabaseError
from registry.tally import Tally

_TRUST_SECONDS: Final = 2.0
"""How long one look at the disk counts, however often it is asked for."""

_DATABASE_SECONDS: Final = 5.0
"""How long the shared database may take to answer."""

_PROBE_BYTES: Final = 4096
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Status:
    """Answers about one worker, and the metrics of all."""

    def __init__(
        self,
        root: Path,
        tally: Tally,
        drain: Drain,
        *,
        backing: Backing | None = None,
        webhooks: bool = False,
        read_only: bool = False,
        room: Room | None = None,
        barrier: Barrier | None = None,
        outgrown: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._tally = tally
        self._drain = drain
        self._backing = backing
        self._webhooks = webhooks
        self._read_only = read_only
        self._room = room
        self._barrier = barrier
        self._outgrown = outgrown
        self._clock = clock
        self._looked = float("-inf")
        self._trouble = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET is possible here\n")
        match request.path:
            case "/metrics":
                from registry.metrics import render

                draw = partial(render, webhooks=self._webhooks)
                page = await asyncio.to_thread(draw, self._tally, self._root, self._backing)
                return web.Response(body=page, headers={"Content-Type": _METRICS_TYPE})
            case "/healthz":
                return web.Response(text="ok\n")
            case "/readyz":
                trouble = await self.trouble()
                return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")
        return web.Response(status=404, text="there are /metrics, /healthz and /readyz\n")

    async def trouble(self) -> str:
        """Why no requests should come here, "" when they may."""
        if self._drain.draining:
            return "draining"
        if not self._read_only and self._clock() - self._looked >= _TRUST_SECONDS:
            self._looked = self._clock()
            self._trouble = await asyncio.to_thread(_try_disk, self._root, self._room)
        return self._trouble or await self._try_database()

    async def _try_database(self) -> str:
        """Ask as a request does: others may reach what this replica cannot."""
        if self._barrier is None:
            return ""
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                await self._barrier.passed()
                return await asyncio.to_thread(self._outgrown)
        except (DatabaseError, TimeoutError):
            return "the database cannot be reached"


def _try_disk(root: Path, room: Room | None) -> str:
    probe = root / f".probe-{os.getpid()}"
    try:
        if room is not None:
            room.need(_PROBE_BYTES)
        try:
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Not zeros: a file system may store those without a block.
                os.write(descriptor, os.urandom(_PROBE_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "the disk is full" if full else f"the disk cannot be written: {error.strerror}"
    return ""
