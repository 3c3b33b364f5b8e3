"""Several processes in front of one upstream: one request for all of them, and kill -9."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from images.mediatype import OCI_MANIFEST
from tests.registry.kit import digest_of, manifest
from tests.registry.service_kit import call, service
from tests.registry.test_durability import store_is_clean
from tests.waiting import eventually

LAYER = os.urandom(4 << 20)
IMAGE = manifest(layers=[LAYER])
BLOB = f"/v2/hub/app/blobs/{digest_of(LAYER)}"


class Upstream(ThreadingHTTPServer):
    """Serves one image; blobs are sent half, the rest once ``released``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.released = threading.Event()
        self.blobs = 0
        self.manifests = 0


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        data = b"{}"
        if "/manifests/" in self.path:
            data = IMAGE
            self.server.manifests += body
        elif "/blobs/" in self.path and digest_of(LAYER) in self.path:
            data = LAYER
            self.server.blobs += body
        self.send_response(200)
        self.send_header("Content-Type", OCI_MANIFEST)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        with suppress(ConnectionError):
            if data is LAYER:
                self.wfile.write(data[: 2 << 20])
                self.server.released.wait(30)
                data = data[2 << 20 :]
            self.wfile.write(data)


@contextmanager
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def config(server: Upstream) -> str:
    return f'[[proxy]]\nprefix = "hub/"\nupstream = "127.0.0.1:{server.server_port}"\n'


def test_workers_share_one_request(tmp_path: Path) -> None:
    with upstream() as server, service(tmp_path, config(server), workers=3) as front:
        server.released.set()
        with ThreadPoolExecutor(16) as pool:
            tags = [
                pool.submit(call, front.port, "GET", "/v2/hub/app/manifests/v1") for _ in range(16)
            ]
            assert {tag.result()[2] for tag in tags} == {IMAGE}
            blobs = [pool.submit(call, front.port, "GET", BLOB) for _ in range(16)]
            assert {blob.result()[2] for blob in blobs} == {LAYER}
        assert (server.manifests, server.blobs) == (1, 1)


def test_kill_in_the_middle_of_a_fetch_leaves_nothing_half_written(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with upstream() as server:
        with service(tmp_path, config(server), workers=1) as front:
            assert call(front.port, "GET", "/v2/hub/app/manifests/v1")[0] == 200
            with ThreadPoolExecutor(2) as pool:
                cut = pool.submit(_whole, front.port)
                eventually(lambda: _staged(store) >= 1 << 20)
                os.kill(front.pid, signal.SIGKILL)
                front.process.wait()
                assert not cut.result()
        store_is_clean(store)
        assert not (store / "blobs/sha256" / digest_of(LAYER).removeprefix("sha256:")).exists()
        server.released.set()
        with service(tmp_path, config(server), workers=1) as front:
            assert call(front.port, "GET", BLOB)[2] == LAYER
        store_is_clean(store)


def _staged(store: Path) -> int:
    size = 0
    with suppress(FileNotFoundError):  # a file is renamed or gone by the time it is looked at
        for file in (store / "uploads").iterdir():
            size += file.stat().st_size
    return size


def _whole(port: int) -> bool:
    try:
        return call(port, "GET", BLOB)[2] == LAYER
    except Exception:  # noqa: BLE001 -- however the connection ends
        return False
