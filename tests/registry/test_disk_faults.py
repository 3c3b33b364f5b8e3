"""Real disks that are full, and faults below Python: a small tmpfs, and strace in the server's way.

What the index's own library writes is reached only here (abuses 1 and 2).
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.registry import kit
from tests.registry.contract import holds
from tests.registry.crashmodel import Client, Failing, Unreachable, work
from tests.registry.kit import digest_of
from tests.registry.nursery import Nursery
from tests.registry.running import server
from tests.registry.test_durability import blobs_are_whole, store_is_clean

MEBIBYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = require_program("mount")
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.root
@holds("A full or failing disk costs the request, not the store.")
def test_abuse_02_a_disk_that_fills_up(small_disk: Path) -> None:
    """Pushes of every way until nothing fits, then room is made and everything goes on."""
    root = small_disk / "registry"
    client = Client("c")
    rng = random.Random(2)
    reserve, ballast = small_disk / "reserve", small_disk / "ballast"
    reserve.write_bytes(bytes(2 * MEBIBYTE))
    with Nursery() as nursery, nursery.server(root) as running:
        client.port = running.port
        client.upload("a", b"{}")
        statuses = [push_until_full(client, rng) for _ in range(4)]
        fill(ballast)  # now not even the index has room
        statuses += [push_until_full(client, rng) for _ in range(8)]
        assert set(statuses) <= {503, 507}
        blobs_are_whole(root)
        client.check()
        ballast.unlink()
        reserve.unlink()
        client.upload("a", b"small again")
        client.push("a", kit.manifest(layers=[b"small again"]), "t")
        client.check()
    with Nursery() as nursery, nursery.server(root) as running:
        client.port = running.port
        client.check()


def push_until_full(client: Client, rng: random.Random) -> int:
    """The status of the first push that fails."""
    while True:
        try:
            push_one(client, rng)
        except Failing as failure:
            client.session = None
            return failure.status


def upload_until_full(client: Client, rng: random.Random, size: int) -> int:
    """The status of the first blob of that size that is not taken."""
    while True:
        try:
            client.upload("b", rng.randbytes(size))
        except Failing as failure:
            return failure.status


def push_one(client: Client, rng: random.Random) -> None:
    layer = rng.randbytes(rng.choice([10, 1000, MEBIBYTE]))
    if rng.random() < 0.5:
        client.upload("a", layer)
    else:
        client.begin("a", layer)
        client.advance(len(layer) // 2)
        client.finish()
    client.push("a", kit.manifest(layers=[layer]), f"t{rng.randrange(3)}")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


@pytest.mark.root
@holds("A full or failing disk costs the request, not the store.")
def test_abuse_02_what_pushes_filled_can_be_emptied(small_disk: Path) -> None:
    """Uploads leave the room that deletions and a collection write in; nothing is restarted."""
    root = small_disk / "registry"
    client = Client("c")
    rng = random.Random(3)
    with Nursery() as nursery, nursery.server(root) as running:
        client.port = running.port
        client.upload("a", b"{}")
        layer = rng.randbytes(3 * MEBIBYTE)
        client.upload("a", layer)
        manifest = kit.manifest(layers=[layer])
        client.push("a", manifest, "big")
        for size in (MEBIBYTE, 65536, 4096, 1):
            assert upload_until_full(client, rng, size) == 507
        client.delete(f"/v2/a/manifests/{digest_of(manifest)}")
        ended = collect(root)
        assert ended.returncode == 0, ended.stderr
        client.readable.clear()
        client.upload("a", layer)
    store_is_clean(root)


def collect(root: Path) -> subprocess.CompletedProcess[str]:
    """``lading registry gc``, of what nobody is about to push."""
    command = [sys.executable, "-m", "lading", "registry", "gc", "--lease", "0s"]
    command += ["--storage", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.root
def test_abuse_02_a_collection_on_a_full_disk(small_disk: Path) -> None:
    """What another program filled is told in a sentence."""
    root = small_disk / "registry"
    with Nursery() as nursery, nursery.server(root) as running:
        Client("c", running.port).upload("a", b"{}")
    fill(small_disk / "ballast")
    ended = collect(root)
    assert ended.returncode == 1
    assert "database or disk is full" in ended.stderr or "No space left" in ended.stderr
    assert "room" in ended.stderr
    assert "bug" not in ended.stderr


@pytest.mark.root
def test_abuse_02_a_disk_that_is_full_at_start(small_disk: Path) -> None:
    """The server says why it does not start, and starts once there is room."""
    from registry.config import RegistryConfig
    from registry.errors import RegistryStartError
    from registry.service import open_registry

    fill(small_disk / "ballast")
    config = RegistryConfig(root=small_disk / "registry")
    with pytest.raises(RegistryStartError, match="cannot open the store"):
        open_registry(config)
    (small_disk / "ballast").unlink()
    open_registry(config).close()


INJECTED = [
    ("fsync", "signal=SIGKILL", 14),
    ("fdatasync", "signal=SIGKILL", 14),
    ("rename", "signal=SIGKILL", 6),
    ("pwrite64", "signal=SIGKILL", 30),
    ("pwritev2", "signal=SIGKILL", 6),
    ("unlink", "signal=SIGKILL", 4),
    ("fsync", "error=EIO", 8),
    ("fdatasync", "error=EIO", 8),
    ("pwrite64", "error=ENOSPC", 16),
    ("pwritev2", "error=ENOSPC", 4),
]


@pytest.mark.peer
@pytest.mark.soak
@pytest.mark.parametrize(("call", "fault", "last"), INJECTED)
def test_abuse_01_faults_below_python(tmp_path: Path, call: str, fault: str, last: int) -> None:
    """strace kills the server when it enters the n-th call of a kind, or makes the call fail."""
    strace = require_program("strace")
    for number in range(1, last + 1):
        root = tmp_path / str(number)
        with server(root):
            pass  # make the store, so that the calls counted below are those of requests
        client = Client("c")
        wrapper = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        wrapper += ["-e", f"inject={call}:{fault}:when={number}"]
        with server(root, *wrapper) as (_, client.port):
            if client.port:
                worker = threading.Thread(target=work_a_while, args=(client, number))
                worker.start()
                worker.join()
        store_is_clean(root)
        with server(root) as (_, client.port):
            client.check()
        shutil.rmtree(root)


def work_a_while(client: Client, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(12):
        try:
            work(client, rng)
        except Unreachable:
            return
        except Failing:
            client.session = None


def test_digests_name_what_they_hold(tmp_path: Path) -> None:
    """The judge of these tests sees a damaged blob."""
    with Nursery() as nursery, nursery.server(tmp_path / "r") as running:
        Client("c", running.port).upload("a", b"whole")
    blobs_are_whole(tmp_path / "r")
    (tmp_path / "r" / "blobs" / "sha256" / digest_of(b"whole")[7:]).write_bytes(b"half")
    with pytest.raises(AssertionError):
        blobs_are_whole(tmp_path / "r")
