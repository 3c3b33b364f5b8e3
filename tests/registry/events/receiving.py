"""A receiver of webhooks that really listens: it records requests and answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Mapping[str, str]]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    moment: float

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def subject(self) -> str:
        return str(self.event["subject"])


@dataclass
class Inbox:
    """What came in; ``reply`` says what is answered and may block."""

    port: int = 0
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)
    reply: Callable[[Received], Reply] = lambda _: (204, {})

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/hook"

    def subjects(self, kind: str = "") -> list[str]:
        return [it.subject for it in list(self.requests) if it.event["type"].endswith(kind)]

    def ids(self) -> list[str]:
        return [it.headers["webhook-id"] for it in list(self.requests)]


@contextmanager
def receiver(port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Inbox]:
    """Listen on loopback while the block runs; ``context`` makes it speak TLS."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.path, headers, body, time.time())
            inbox.requests.append(received)
            status, more = inbox.reply(received)
            try:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            inbox.requests.append(Received(self.path, {}, b"", time.time()))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that was killed is no news."""

    server = Server(("127.0.0.1", port), Handler)
    inbox.port = server.server_address[1]
    if context is not None:
        inbox.scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
