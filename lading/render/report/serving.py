"""Pages of reports for a browser on this machine, until somebody stops it."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from lading.errors import UsageError
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Page(Record):
    """What is at one path."""

    type: str
    body: bytes


def server_of(address: str, pages: Mapping[str, Page]) -> ThreadingHTTPServer:
    """A server that listens at ``HOST:PORT`` already; ``serve_forever`` answers.

    Raises:
        UsageError: the address is malformed, or taken.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{address!r} is no HOST:PORT", where="--addr", fix="use 127.0.0.1:0")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            body = b"not found\n" if page is None else page.body
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/plain" if page is None else page.type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal is the person's."""

    try:
        return ThreadingHTTPServer((host.strip("[]") or "127.0.0.1", int(port)), Handler)
    except OSError as error:
        raise UsageError(
            f"cannot listen: {error.strerror}", where=address, fix="use 127.0.0.1:0"
        ) from error
