"""Clients that push and pull while a store moves, and what two stores list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.registry.kit import OCI_INDEX, descriptor, digest_of, index, manifest
from tests.registry.service_kit import PROJECT, Service, call

OCI = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
INDEX = {"Content-Type": OCI_INDEX}


def lading(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 240
) -> tuple[int, str]:
    """Run ``lading registry``; returns its status and all that it said."""
    done = subprocess.run(
        command(*arguments),
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lading", "registry", *map(str, arguments)]


def put_blob(port: int, repository: str, data: bytes) -> int:
    path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}"
    return call(port, "POST", path, data)[0]


def push(port: int, repository: str, tag: str, layer: bytes) -> int:
    """Push an image of one layer; returns the first status that is not 201, or 201."""
    raw = manifest(layers=[layer])
    for data in (b"{}", layer):
        status = put_blob(port, repository, data)
        if status != 201:
            return status
    return call(port, "PUT", f"/v2/{repository}/manifests/{tag}", raw, OCI)[0]


def fill(found: Service) -> None:
    """One of everything: an index, a referrer, a moved and a deleted tag, a deleted repository."""
    for number in range(30):
        assert push(found.port, f"team/app{number % 5}", f"t{number}", os.urandom(3000)) == 201
    big = os.urandom(11 << 20)
    assert push(found.port, "big", "1", big) == 201
    child = manifest(layers=[big])
    assert call(found.port, "PUT", "/v2/big/manifests/all", index([child]), INDEX)[0] == 201
    signature = manifest(layers=[b"signature"], subject=descriptor(child, OCI["Content-Type"]))
    assert put_blob(found.port, "big", b"signature") == 201
    path = f"/v2/big/manifests/{digest_of(signature)}"
    assert call(found.port, "PUT", path, signature, OCI)[0] == 201
    assert push(found.port, "team/app0", "t0", b"moved") == 201
    assert call(found.port, "DELETE", "/v2/team/app1/manifests/t1")[0] == 202


class Load:
    """Pushes and pulls until stopped; ``acknowledged`` is what must be there afterwards."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.acknowledged: dict[str, bytes] = {}
        self.refused: list[int] = []
        self.read = 0
        self.failures: list[str] = []

    def write(self, name: str) -> None:
        """Push images with one layer each; what is refused is tried again, as clients do."""
        number = 0
        while not self._stop.is_set():
            layer = f"{name} {number}".encode() * 400
            try:
                status = push(self._port, f"load/{name}", f"t{number % 7}", layer)
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
                return
            if status == 201:
                self.acknowledged[f"/v2/load/{name}/blobs/{digest_of(layer)}"] = layer
                self.acknowledged[f"/v2/load/{name}/manifests/t{number % 7}"] = manifest(
                    layers=[layer]
                )
                number += 1
                self._stop.wait(0.1)
            elif status in (503,):
                self.refused.append(status)
                self._stop.wait(0.05)
            else:
                self.failures.append(f"{name}: {status}")
                return

    def pull(self) -> None:
        """Read what was there before, all the time."""
        while not self._stop.is_set():
            for path in ("/v2/big/manifests/all", "/v2/team/app0/tags/list", "/v2/_catalog"):
                try:
                    status = call(self._port, "GET", path)[0]
                except (OSError, HTTPException) as error:
                    self.failures.append(repr(error))
                    return
                self.read += 1
                if status != 200:
                    self.failures.append(f"{path}: {status}")
            self._stop.wait(0.02)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.write, args=(name,)) for name in ("a", "b")]
        threads.append(threading.Thread(target=self.pull))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def listings(port: int) -> dict[str, Any]:
    """All that the registry lists: repositories, tags and their digests, referrers."""
    found: dict[str, Any] = {}
    repositories = json.loads(call(port, "GET", "/v2/_catalog?n=1000")[2])["repositories"]
    for name in repositories:
        tags = json.loads(call(port, "GET", f"/v2/{name}/tags/list")[2])["tags"]
        digests = {}
        for tag in tags or ():
            _, headers, body = call(port, "GET", f"/v2/{name}/manifests/{tag}")
            digests[tag] = headers["Docker-Content-Digest"]
            referrers = f"/v2/{name}/referrers/{digest_of(body)}"
            digests[f"{tag} referrers"] = json.loads(call(port, "GET", referrers)[2])["manifests"]
        found[name] = digests
    return found


def still_there(port: int, wanted: Mapping[str, bytes]) -> list[str]:
    """Paths whose content is another or gone."""
    return [path for path, data in wanted.items() if call(port, "GET", path)[::2] != (200, data)]
