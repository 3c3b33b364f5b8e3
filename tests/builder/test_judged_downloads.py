"""A judge of downloads: asked before, told afterwards, and not led from TLS to plain HTTP."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from builder.downloads import Downloads
from builder.errors import DownloadError
from images.blobs import BlobStore
from images.digest import Digest
from images.errors import InputError
from tests.registry.running import certificate

CONTENT = b"content"


class Values:
    """Records in memory."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.held.get(key)

    def put(self, key: bytes, kind: str, value: bytes, blobs: Sequence[Digest] = ()) -> None:
        self.held[key] = value


class Judge:
    """Admits what does not end in ``no``, and holds everything to ``held``."""

    def __init__(self, held: str | None = None) -> None:
        self.held = held
        self.told: list[tuple[str, Digest]] = []

    def admit(self, url: str, checksum: str | None) -> str | None:
        if url.endswith("no"):
            raise InputError("not from there")
        return checksum or self.held

    def admit_repository(self, url: str, commit: str | None) -> None:
        raise AssertionError("a file is no repository")

    def fetched(self, url: str, digest: Digest) -> None:
        self.told.append((url, digest))


@contextmanager
def served(target: str = "", tls: tuple[Path, Path] | None = None) -> Iterator[int]:
    """A server on localhost that redirects ``/away`` to ``target``; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            away = self.path == "/away"
            self.send_response(302 if away else 200)
            if away:
                self.send_header("Location", target)
            body = b"" if away else CONTENT
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def downloads(folder: Path, judge: Judge | None) -> Downloads:
    return Downloads(Values(), BlobStore(folder / "store"), judge=judge)


def test_a_judge_is_asked_before_and_told_what_came(tmp_path: Path) -> None:
    judge = Judge()
    with served() as port:
        url = f"http://localhost:{port}/file"
        found = downloads(tmp_path, judge).fetch(url)
        assert judge.told == [(url, found.digest)]
        downloads(tmp_path, judge).fetch(url, str(found.digest))
        assert len(judge.told) == 1, "a stated checksum is nothing to remember"
        held = Judge(str(Digest.of(b"other")))
        with pytest.raises(DownloadError, match="content hashes to"):
            downloads(tmp_path, held).fetch(url)
        assert held.told == []
    with pytest.raises(InputError, match="not from there"):
        downloads(tmp_path, judge).fetch(f"http://localhost:{port}/no")


def test_no_redirect_leaves_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    with served() as plain, served(f"http://localhost:{plain}/file", tls=pair) as secure:
        url = f"https://localhost:{secure}/away"
        with pytest.raises(DownloadError, match=r"redirects to http://.*, without TLS"):
            downloads(tmp_path, Judge()).fetch(url)
        assert downloads(tmp_path / "b", None).fetch(url).digest == Digest.of(CONTENT)
        with served(f"https://localhost:{secure}/file", tls=pair) as other:
            away = f"https://localhost:{other}/away"
            assert downloads(tmp_path / "c", Judge()).fetch(away).digest == Digest.of(CONTENT)
