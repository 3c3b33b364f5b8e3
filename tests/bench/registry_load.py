"""A push and pull load as clients make it, cheap enough not to be what is measured.

Each client is a thread with one connection: docker's requests (HEAD, POST, PATCH, PUT for a layer),
content made and hashed before the clock starts. Reading a blob throws its bytes away in the kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.bench.registry_servers import Server

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_BUFFER: Final = 1 << 20


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Image:
    """An image that is ready to be pushed."""

    blobs: tuple[tuple[str, bytes], ...]
    manifest: bytes


def make_image(layers: int, size: int) -> Image:
    """Layers that no other image has."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "id": os.urandom(8).hex()})
    seed = os.urandom(size)
    contents = [config.encode(), *(os.urandom(16) + seed[16:] for _ in range(layers))]
    blobs = tuple((sha256(data), data) for data in contents)
    described = [{"digest": digest, "size": len(data)} for digest, data in blobs]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **described[0]},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}
            for layer in described[1:]
        ],
    }
    return Image(blobs, json.dumps(manifest).encode())


class Wire:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"{name}: {value}\r\n" for name, value in server.headers.items()]
        self._head = "Host: bench\r\n" + "".join(lines)
        self._left = b""
        self._scrap = bytearray(_BUFFER)

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, dict[str, str]]:
        """Send a request, throw the answer's body away; returns status and headers."""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Type: {kind}\r\n"
        head += f"Accept: {OCI_MANIFEST}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendmsg([head.encode()])
        if body:
            self._socket.sendall(body)
        status, headers, rest = self._read_head()
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        self._skip(length, rest)
        return status, headers

    def close(self) -> None:
        self._socket.close()

    def _read_head(self) -> tuple[int, dict[str, str], bytes]:
        data = self._left
        while b"\r\n\r\n" not in data:
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionError("the server closed the connection")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers, rest

    def _skip(self, length: int, rest: bytes) -> None:
        self._left = rest[length:]
        length -= len(rest)
        while length > 0:
            taken = self._socket.recv_into(self._scrap, min(length, _BUFFER), socket.MSG_TRUNC)
            if not taken:
                raise ConnectionError("the server closed the connection")
            length -= taken


class Asks(Protocol):
    """Sends requests, over one connection or several."""

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, dict[str, str]]:
        """See ``Wire.ask``."""
        ...

    def close(self) -> None:
        """Close what it sends over."""
        ...


def push(wire: Asks, repository: str, image: Image) -> None:
    """Push as docker does."""
    for digest, data in image.blobs:
        status, _ = wire.ask("HEAD", f"/v2/{repository}/blobs/{digest}")
        assert status == 404, status
        status, headers = wire.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        status, headers = wire.ask("PATCH", _path(headers), data)
        assert status == 202, status
        path = _path(headers)
        join = "&" if "?" in path else "?"
        status, _ = wire.ask("PUT", f"{path}{join}digest={digest}")
        assert status == 201, status
    path = f"/v2/{repository}/manifests/latest"
    status, _ = wire.ask("PUT", path, image.manifest, OCI_MANIFEST)
    assert status == 201, status


def pull(wire: Asks, repository: str, image: Image) -> None:
    """Pull as docker does."""
    for method in ("HEAD", "GET"):
        status, _ = wire.ask(method, f"/v2/{repository}/manifests/latest")
        assert status == 200, status
    for digest, _ in image.blobs:
        status, _ = wire.ask("GET", f"/v2/{repository}/blobs/{digest}")
        assert status == 200, status


def together(wires: Sequence[Asks], job: Callable[[Asks, int], None]) -> float:
    """Seconds until the client of each wire has done its job, all having begun at once."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(wires) + 1)

    def work(number: int) -> None:
        barrier.wait()
        try:
            job(wires[number], number)
        except BaseException as error:  # noqa: BLE001 -- told by the caller
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(wires))]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for wire in wires:
        wire.close()
    if errors:
        raise errors[0]
    return seconds


def _path(headers: dict[str, str]) -> str:
    location = headers["location"]
    return location[location.index("/v2/") :]


@dataclass(frozen=True)
class SlowPulls:
    """What many slow clients at once cost."""

    resident: int
    failed: int
    seconds: float


def slow_pulls(
    server: Server, path: str, size: int, clients: int, *, slow: float, finish: int
) -> SlowPulls:
    """``clients`` pulls of one blob that take a little now and then for ``slow`` seconds.

    ``finish`` of them take the rest at the end. Finds the server's largest memory meanwhile.
    """
    import selectors

    started = time.perf_counter()
    lines = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{lines}Connection: close\r\n\r\n".encode()
    got: dict[socket.socket, int] = {}
    for _ in range(clients):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(request)
        got[reader] = 0
    peak = server.resident()
    deadline = time.perf_counter() + slow
    while time.perf_counter() < deadline:
        for reader in got:
            reader.settimeout(10)
            got[reader] += len(reader.recv(4096))
        peak = max(peak, server.resident())
    failed = sum(1 for taken in got.values() if not taken)
    for reader in list(got)[finish:]:
        del got[reader]
        reader.close()
    with selectors.DefaultSelector() as selector:
        for reader in got:
            reader.setblocking(False)
            selector.register(reader, selectors.EVENT_READ)
        scrap = bytearray(_BUFFER)
        while selector.get_map():
            for key, _ in selector.select(60):
                reader = key.fileobj  # type: ignore[assignment]
                try:
                    taken = reader.recv_into(scrap, 0, socket.MSG_TRUNC)
                except ConnectionError:
                    taken = 0
                got[reader] += taken
                if not taken:
                    selector.unregister(reader)
                    reader.close()
            peak = max(peak, server.resident())
    failed += sum(1 for taken in got.values() if taken <= size)
    return SlowPulls(peak, failed, time.perf_counter() - started)
