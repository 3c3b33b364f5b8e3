"""Connections under guard: how many there may be, and how long a first request may take to come.

Write timeouts are the kernel's (``listening``), reads of bodies have theirs in ``body``; idle
connections are closed by aiohttp's keep-alive timer.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from registry.heads import FIELD_LIMIT, FIELDS, LINE_LIMIT, refuse_head, until_gone
from registry.settings import LimitSettings
from registry.tally import Count, Level, Tally

_READ_BUFFER: Final = 256 << 10
_WRITE_BUFFER: Final = 16 << 10
"""Bytes that may wait to be sent before a writer has to; uvloop takes 512 KiB under TLS."""

_LINGER_SECONDS: Final = 10.0
"""How long the rest of a refused body is read, so that the client sees the refusal."""

_BUSY_SECONDS: Final = 1.0
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Connection(web.RequestHandler):
    """One client connection; ``began`` once its first request's head is complete."""

    __slots__ = ("_deadline", "_gone", "_guard", "began", "counted")

    def __init__(self, guard: GuardedServer, **options: Any) -> None:
        super().__init__(guard, **options)
        self._guard = guard
        self._deadline: asyncio.TimerHandle | None = None
        self._gone: asyncio.Event | None = None
        self.began = False
        self.counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away."""
        super().connection_made(transport)
        out = cast("asyncio.Transport", transport)  # uvloop's is one by its methods alone
        guard = self._guard
        if guard.open_connections >= guard.limits.connections:
            guard.tally.count(Count.CONNECTIONS_REFUSED)
            self._turn_away(out)
            return
        out.set_write_buffer_limits(high=_WRITE_BUFFER)
        self.counted = True
        guard.open_connections += 1
        guard.tally.count(Count.CONNECTIONS)
        guard.tally.move(Level.CONNECTIONS, 1)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(guard.limits.header_timeout, self._expire)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._gone is not None:
            self._gone.set()
        if self.counted:
            self.counted = False
            self._guard.open_connections -= 1
            self._guard.tally.move(Level.CONNECTIONS, -1)
        super().connection_lost(exc)

    def begin(self) -> None:
        """A request's head is complete."""
        self.began = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless nothing more is answered here."""
        if self.counted:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not: bytes that are no request, or a bug in our own code."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        return refuse_head(request, exc, self._guard.tally, self._linger)

    async def _linger(self) -> None:
        """Drop what still comes until the client has hung up, or for a moment."""
        self.close()
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._gone = asyncio.Event()
        await until_gone(self._gone, _BUSY_SECONDS)

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Answer 503 and close; what the client sends is read until then, lest it see a reset."""
        transport.write(_BUSY)
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(_BUSY_SECONDS, self.force_close)

    def _expire(self) -> None:
        self._deadline = None
        self._guard.tally.count(Count.HEAD_TIMEOUTS)
        self.force_close()


class GuardedServer(web.Server):
    """Makes connections for one handler, within limits that a reload may change."""

    def __init__(self, handler: Any, limits: LimitSettings, tally: Tally) -> None:
        super().__init__(handler, request_factory=self._make_guarded)
        self.limits = limits
        self.tally = tally
        self.open_connections = 0

    def __call__(self) -> Connection:
        """A protocol for one connection."""
        return Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=self.limits.keep_alive,
            lingering_time=min(self.limits.idle_timeout, _LINGER_SECONDS),
            read_bufsize=_READ_BUFFER,
            auto_decompress=False,
            max_line_size=LINE_LIMIT,
            max_field_size=FIELD_LIMIT,
            max_headers=FIELDS,
        )

    def _make_guarded(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        if not protocol.began:
            protocol.begin()
        return web.BaseRequest(message, payload, protocol, writer, task, protocol._loop)
