"""The durability contract, with kill -9 as the judge (abuse 1).

A 201 survives kill -9: what it acknowledged is there, whole, after a restart. Nothing half-written
is ever served. One test kills at random moments under load, the other at each disk call in turn.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from images.mediatype import OCI_MANIFEST
from tests.registry import kit
from tests.registry.kit import digest_of

PROJECT = Path(__file__).parents[2]


@dataclass
class Acknowledged:
    """What the server said it has: bytes by URL path."""

    content: dict[str, bytes] = field(default_factory=dict)
    attempted: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def server(root: Path, *wrapper: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [*wrapper, sys.executable, "-m", "tests.registry.server_process", str(root)]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line or 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def push_until_killed(port: int, seed: int, known: Acknowledged) -> None:
    """Push images over and over, in every way, noting each 201; ends when the server does."""
    rng = random.Random(seed)
    try:
        while True:
            layer = rng.randbytes(rng.choice([0, 100, 70_000, 3_000_000]))
            for blob in (b"{}", layer):
                push_blob(port, f"r{seed}", blob, rng, known)
            raw = kit.manifest(layers=[layer], annotations={"n": str(rng.random())})
            tag = f"t{rng.randrange(5)}"
            paths = [f"/v2/r{seed}/manifests/{digest_of(raw)}", f"/v2/r{seed}/manifests/{tag}"]
            for path in paths:
                known.attempted[path] = raw
                headers = {"Content-Type": OCI_MANIFEST}
                if call(port, "PUT", path, raw, headers)[0] == 201:
                    known.content[path] = raw
                    known.content[paths[0]] = raw
    except (OSError, http.client.HTTPException):
        return


def push_blob(port: int, name: str, blob: bytes, rng: random.Random, known: Acknowledged) -> None:
    digest = digest_of(blob)
    path = f"/v2/{name}/blobs/{digest}"
    known.attempted[path] = blob
    start = f"/v2/{name}/blobs/uploads/"
    if rng.random() < 0.5:
        status, _, _ = call(port, "POST", f"{start}?digest={digest}", blob)
    else:
        _, location, _ = call(port, "POST", start)
        half = len(blob) // 2
        call(port, "PATCH", location, blob[:half])
        status, _, _ = call(port, "PUT", f"{location}?digest={digest}", blob[half:])
    if status == 201:
        known.content[path] = blob


def call(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.getheader("Location") or "", response.read()
    finally:
        connection.close()


def check_survivors(root: Path, known: Acknowledged) -> None:
    """Everything acknowledged is there; everything that is there is whole."""
    for directory in (root / "blobs").iterdir():
        if directory.is_dir() and not directory.name.startswith("."):
            for file in directory.iterdir():
                assert digest_of(file.read_bytes(), directory.name).endswith(file.name)
    with server(root) as (_, port):
        for path, body in known.content.items():
            # A tag may have moved on to an attempt whose answer never arrived.
            status, _, found = call(port, "GET", path)
            assert status == 200, path
            assert found in (body, known.attempted[path]), path
        for path, body in known.attempted.items():
            status, _, found = call(port, "GET", path)
            if status == 200 and path not in known.content:
                assert found == body, path
            if "/manifests/" in path and status == 200:
                check_content(port, path, found)


def check_content(port: int, path: str, raw: bytes) -> None:
    document = json.loads(raw)
    name = path.split("/")[2]
    for descriptor in (document["config"], *document["layers"]):
        status, _, body = call(port, "GET", f"/v2/{name}/blobs/{descriptor['digest']}")
        assert (status, len(body)) == (200, descriptor["size"])


def kill_under_load(root: Path, seed: int) -> None:
    known = [Acknowledged() for _ in range(3)]
    with server(root) as (process, port):
        pushers = [
            threading.Thread(target=push_until_killed, args=(port, seed * 10 + n, one))
            for n, one in enumerate(known)
        ]
        for pusher in pushers:
            pusher.start()
        time.sleep(random.Random(seed).uniform(0.05, 0.6))
        process.kill()
        for pusher in pushers:
            pusher.join()
    for one in known:
        check_survivors(root, one)


@pytest.mark.parametrize("seed", range(4))
def test_01_kill_at_random_moments(tmp_path: Path, seed: int) -> None:
    kill_under_load(tmp_path, seed)


@pytest.mark.slow
def test_01_kill_again_and_again_on_one_store(tmp_path: Path) -> None:
    for seed in range(100, 125):
        kill_under_load(tmp_path, seed)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call_name", "last"),
    [
        ("fsync", 14),
        ("fdatasync", 14),
        ("rename", 6),
        ("pwrite64", 30),
        ("pwritev2", 6),
        ("unlink", 4),
    ],
)
def test_01_kill_at_each_disk_call(tmp_path: Path, call_name: str, last: int) -> None:
    """strace kills the server when it enters the n-th call of a kind."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    for number in range(1, last + 1):
        root = tmp_path / str(number)
        with server(root):
            pass  # make the store, so that the calls counted below are those of requests
        inject = f"inject={call_name}:signal=SIGKILL:when={number}"
        known = Acknowledged()
        wrapper = (strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call_name}", "-e", inject)
        with server(root, *wrapper) as (process, port):
            if port:
                pusher = threading.Thread(target=push_until_killed, args=(port, number, known))
                pusher.start()
                process.wait(timeout=30)
                pusher.join()
        check_survivors(root, known)
        shutil.rmtree(root)
