"""An issuer of tokens as others run them: real keys behind a real HTTP server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from registry.access.jwt import encode_bytes, encode_token
from registry.access.keys import SigningKey, load_ring
from registry.access.oidc.settings import IssuerSettings
from registry.access.settings import Algorithm, TokenSettings

Issuer = TypeVar("Issuer", bound="OutsideIssuer")


class OutsideIssuer:
    """Signs tokens; ``url`` serves discovery and keys, ``asked`` counts requests for keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: list[SigningKey] = []
        self.asked = 0
        self.status = 200
        self.delay = 0.0
        self.documents: dict[str, bytes] = {}
        self.discovery: dict[str, Any] = {}
        self.url = ""
        self.rotate()

    def rotate(self, algorithm: Algorithm = Algorithm.ES256) -> SigningKey:
        """Sign with a new key from now on, and forget the one before."""
        folder = self.folder / f"keys-{time.time_ns()}"
        self.keys = [load_ring(folder, TokenSettings(algorithm=algorithm), now=time.time()).signer]
        return self.keys[0]

    def jwks(self) -> bytes:
        return json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "lading",
            "sub": "repo:our-org/app:ref:refs/heads/main",
            "iat": now,
            "exp": now + 300,
            "jti": "j1",
            "repository": "our-org/app",
            "groups": ["builders", "ops"],
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, **changes: Any) -> str:
        return encode_token(self.claims(**changes), self.keys[0])

    def forged(self, header: Mapping[str, Any], sign: Any, **changes: Any) -> str:
        """A token with a header of one's own, signed by whatever ``sign`` does."""
        parts = (header, self.claims(**changes))
        message = ".".join(encode_bytes(json.dumps(part).encode()) for part in parts)
        return f"{message}.{encode_bytes(sign(message.encode()))}"

    def settings(self, **changes: Any) -> IssuerSettings:
        fields = {
            "name": "ci",
            "issuer": self.url,
            "audience": "lading",
            "subjects": ("repo:our-org/*",),
            "groups_claim": "groups",
            "timeout": 20.0,
        }
        return IssuerSettings(**{**fields, **changes})

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
        """The answer to a form, for issuers that give tokens for codes."""
        raise NotImplementedError

    def answer(self, path: str) -> bytes | None:
        if path == "/.well-known/openid-configuration":
            document = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                **self.discovery,
            }
            return self.documents.get(path, json.dumps(document).encode())
        if path == "/keys":
            self.asked += 1
            return self.documents.get(path, self.jwks())
        return self.documents.get(path)


@contextmanager
def outside_issuer(folder: Path) -> Iterator[OutsideIssuer]:
    """An issuer that listens on a free port of loopback."""
    with listening(OutsideIssuer(folder)) as issuer:
        yield issuer


@contextmanager
def listening(issuer: Issuer) -> Iterator[Issuer]:
    """An issuer on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = issuer.answer(self.path.partition("?")[0])
            time.sleep(issuer.delay)
            self._send(data)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            data = issuer.post(self.path, dict(parse_qsl(raw)), self.headers)
            time.sleep(issuer.delay)
            self._send(data)

        def _send(self, data: bytes | None) -> None:
            self.send_response(404 if data is None else issuer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
