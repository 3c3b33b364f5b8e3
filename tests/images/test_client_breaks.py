"""Connections that break at random places: what is there already is not sent again."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from images.client.options import ClientOptions
from images.client.retry import RetryPolicy
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_LAYER_GZIP
from images.reference import Reference
from images.store import ImageStore
from registry.config import RegistryConfig
from tests.images.clientkit import nothing_blocks_the_loop, on_wire  # noqa: F401 - a fixture
from tests.images.test_client_peers import distribution
from tests.registry.running import Running

SIZE = 6_000_000
SHORT = (1_500_000, 3_000_000)
"""Bytes after which a connection breaks: none lasts for a whole blob,"""
LONGER = (2_000_000, 20_000_000)
"""or some do."""
PATIENT = RetryPolicy(attempts=40, first=0.1, ceiling=0.5)
"""Who asks how far an upload is before the server has seen that its connection broke is told that
another request has it, and begins anew: the pauses leave the server time."""


class BreakingLink:
    """A way to a server whose connections end after a while, in either direction."""

    def __init__(self, host: str, lasts: tuple[int, int], seed: int) -> None:
        self._lasts = lasts
        name, _, port = host.partition(":")
        self._server = (name, int(port))
        self._random = Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0
        """Bytes that went through, both ways."""
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        """One connection, to its end."""
        with client, socket.create_connection(self._server) as server:
            left = [self._random.randrange(*self._lasts)]
            back = threading.Thread(target=self._forward, args=(server, client, left), daemon=True)
            back.start()
            self._forward(client, server, left)
            back.join()
        self.broken += left[0] <= 0

    def _forward(self, source: socket.socket, target: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while left[0] > 0 and (data := source.recv(min(left[0], 1 << 16))):
                target.sendall(data)
                self.passed += len(data)
                left[0] -= len(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def ours(folder: Path) -> Iterator[str]:
    with Running(RegistryConfig(root=folder, port=0)) as running:
        yield f"127.0.0.1:{running.port}"


@pytest.mark.parametrize("chunk", [None, 1_000_000], ids=["whole", "chunks"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_an_upload_and_a_download_go_on(tmp_path: Path, chunk: int | None, seed: int) -> None:
    with ours(tmp_path / "registry") as host:
        link = BreakingLink(host, SHORT, seed)
        up, down = await there_and_back(tmp_path, link, chunk)
    assert link.broken >= 2
    # What a connection had on its way when it broke is sent again, and little more.
    assert down < SIZE * 1.2
    assert up < SIZE * 2.5


@pytest.mark.peer
@pytest.mark.parametrize("chunk", [None, 1_000_000], ids=["whole", "chunks"])
async def test_a_registry_that_forgets_what_broke_off_gets_it_anew(
    tmp_path: Path, chunk: int | None
) -> None:
    with distribution(tmp_path / "registry") as host:
        await there_and_back(tmp_path, BreakingLink(host, LONGER, 3), chunk)


async def there_and_back(tmp_path: Path, link: BreakingLink, chunk: int | None) -> tuple[int, int]:
    """Send a blob and fetch it; the bytes that this took either way."""
    data = os.urandom(SIZE)
    blob = Descriptor(OCI_LAYER_GZIP, Digest.of(data), SIZE)
    one, two = (ImageStore.open(tmp_path / name) for name in ("one", "two"))
    one.blobs.put(data)
    at = Reference.parse(f"{link.host}/app:1")
    options = ClientOptions(environ={}, retry=PATIENT, chunk_size=chunk)
    async with on_wire(options) as client:
        await client.send_blob(at, blob, lambda: one.blobs.open(blob.digest))
        up, link.passed = link.passed, 0
        await client.fetch_blob(at, blob, two.blobs)
    link.close()
    assert two.blobs.read(blob.digest) == data
    for store in (one, two):
        store.close()
    return up, link.passed
