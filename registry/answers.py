"""Content kept ready to send: the head of its answer is made once, not per request.

A plain HTTP/1.1 GET or HEAD of a hot manifest or small blob is one write of bytes that are there
already. Everything else (HTTP/1.0, connections about to close, long content) takes aiohttp's way.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Final

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict, CIMultiDictProxy

from registry.attributes import REQUEST_ID

API_VERSION: Final = {"Docker-Distribution-API-Version": "registry/2.0"}
"""The header that every answer carries."""

REQUEST_ID_HEADER: Final = "X-Request-Id"
"""Carries a request's name both ways."""

_READY_LIMIT: Final = 64 << 10
"""Longest body in bytes that is copied behind its head, rather than sent as a write of its own."""


class ReadyContent:
    """A manifest or small blob with its answer; immutable. ``etag`` is unquoted."""

    __slots__ = ("_head", "body", "etag", "headers")

    def __init__(self, body: bytes, headers: CIMultiDictProxy[str], etag: str) -> None:
        self.body = body
        self.headers = headers
        self.etag = etag
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._head = ("HTTP/1.1 200 OK\r\n" + "".join(lines)).encode("ascii")

    def answer(self, request: web.BaseRequest, date: HttpDate) -> web.StreamResponse:
        """The 200 for this request."""
        if (
            request.version != HttpVersion11
            or not request.keep_alive
            or len(self.body) > _READY_LIMIT
        ):
            return web.Response(body=self.body, headers=self.headers)
        body = b"" if request.method == "HEAD" else self.body
        name = request.get(REQUEST_ID)
        named = b"" if name is None else b"X-Request-Id: %b\r\n" % name.encode("ascii")
        payload = b"".join((self._head, named, date.line(), body))
        return _ReadyResponse(request, payload, self.etag)


def announce(response: web.StreamResponse, name: str, value: str) -> None:
    """Add a header to an answer that is not sent yet; ``value`` is ASCII on one line."""
    if isinstance(response, _ReadyResponse):
        response.announce(name, value)
    else:
        response.headers[name] = value


def digest_of(response: web.StreamResponse) -> str | None:
    """The digest of the content that an answer brings or confirms; None where there is none."""
    if isinstance(response, _ReadyResponse):
        return response.digest
    return response.headers.get("Docker-Content-Digest")


class HttpDate:
    """The Date header, formatted once a second (RFC 9110, section 6.6.1)."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """The header line, and the empty line that ends the head."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = f"Date: {formatdate(now, usegmt=True)}\r\n\r\n".encode("ascii")
        return self._line


class _ReadyResponse(web.StreamResponse):
    """A response whose bytes are all there; it needs no preparation."""

    def __init__(self, request: web.BaseRequest, payload: bytes, digest: str) -> None:
        super().__init__()
        self.digest = digest
        self._ready_request = request
        self._ready_payload = payload

    @property
    def keep_alive(self) -> bool:
        return super().keep_alive is not False

    def announce(self, name: str, value: str) -> None:
        """Put a header behind the status line."""
        status, end, rest = self._ready_payload.partition(b"\r\n")
        line = f"{name}: {value}\r\n".encode("ascii")
        self._ready_payload = b"".join((status, end, line, rest))

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it, and wait while the client is slow to take what was sent before."""
        request = self._ready_request
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        transport.write(self._ready_payload)
        await request.writer.drain()


def content_headers(media_type: str, digest: str, size: int) -> CIMultiDict[str]:
    """The headers of an answer with content."""
    return CIMultiDict(
        {
            **API_VERSION,
            "Content-Type": media_type,
            "Content-Length": str(size),
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
        }
    )
