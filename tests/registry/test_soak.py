"""Everything at once: push, pull, delete, mount and resume beside a collection that never rests.

Clients rely on leases as real ones do: what HEAD says is here they do not upload again. Any answer
that a client may not expect fails the test (abuses 3 and 4, quay PR 6318).
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.collection.collector import Collector
from registry.config import RegistryConfig
from registry.errors import CollectionBusyError
from registry.index import SqliteIndex
from registry.storage import FileStorage
from tests.registry import kit
from tests.registry.crashmodel import Client
from tests.registry.kit import digest_of
from tests.registry.nursery import Nursery
from tests.registry.test_durability import store_is_clean

LAYERS = [random.Random(n).randbytes(size) for n, size in enumerate([0, 10, 500, 70_000, 800_000])]


@dataclass
class Leased(Client):
    """One whom a registry promises, for ``lease`` seconds, what it said is there."""

    lease: float = 0.0

    def push_what_was_provided(self, repository: str, raw: bytes, tag: str, since: float) -> None:
        """A manifest of content that was asked for or sent from ``since`` on.

        Who is slower than the lease was promised nothing, and may be told so.
        """
        try:
            self.push(repository, raw, tag)
        except AssertionError as refused:
            late = time.monotonic() - since >= self.lease
            if not late or "MANIFEST_BLOB_UNKNOWN" not in str(refused):
                raise


def push(client: Leased, rng: random.Random, repository: str) -> None:
    """As docker does it: ask, mount or upload what is missing, then the manifest."""
    since = time.monotonic()
    layers = rng.sample(LAYERS, 2) + ([rng.randbytes(1000)] if rng.random() < 0.5 else [])
    for blob in (b"{}", *layers):
        provide(client, rng, repository, blob)
    raw = kit.manifest(layers=layers, annotations={"n": str(rng.random())})
    client.push_what_was_provided(repository, raw, f"t{rng.randrange(6)}", since)


def provide(client: Client, rng: random.Random, repository: str, blob: bytes) -> None:
    path = f"/v2/{repository}/blobs/{digest_of(blob)}"
    if client.call("HEAD", path)[0] == 200:
        client.seen.add(path)
        client.readable[path] = blob
        return
    other = f"{client.name}/{'two' if repository.endswith('one') else 'one'}"
    there = f"/v2/{other}/blobs/{digest_of(blob)}"
    if client.call("HEAD", there)[0] == 200:
        client.mount(other, repository, blob)
    elif rng.random() < 0.5:
        client.upload(repository, blob)
    else:
        client.begin(repository, blob)
        client.advance(len(blob) // 2)
        client.finish()


def pull(client: Client, rng: random.Random, repository: str) -> None:
    """By tag or digest, with everything that the manifest names."""
    base = f"/v2/{repository}/manifests/"
    known = sorted(path for path in client.readable if path.startswith(base))
    if not known:
        return
    path = rng.choice(known)
    status, _, raw = client.call("GET", path)
    assert (status, raw) == (200, client.readable[path]), path
    document = json.loads(raw)
    for part in [document["config"], *document["layers"]]:
        status, _, blob = client.call("GET", f"/v2/{repository}/blobs/{part['digest']}")
        assert status == 200, (path, part)
        assert digest_of(blob) == part["digest"]


def delete(client: Client, rng: random.Random, repository: str) -> None:
    base = f"/v2/{repository}/manifests/"
    known = sorted(path for path in client.readable if path.startswith(base))
    if known:
        client.delete(rng.choice(known))


def attach(client: Leased, rng: random.Random, repository: str) -> None:
    """A referrer, and the list that must name it."""
    base = f"/v2/{repository}/manifests/"
    known = sorted(path for path in client.readable if path.startswith(base + "sha256"))
    if not known:
        return
    subject = client.readable[rng.choice(known)]
    since = time.monotonic()
    provide(client, rng, repository, b"{}")
    note = {"n": str(rng.random())}
    described = kit.descriptor(subject, "application/vnd.oci.image.manifest.v1+json")
    raw = kit.manifest(subject=described, annotations=note)
    client.push_what_was_provided(repository, raw, f"r{rng.randrange(3)}", since)
    if f"{base}{digest_of(raw)}" not in client.readable:
        return
    listed = client.call("GET", f"/v2/{repository}/referrers/{digest_of(subject)}")[2]
    assert digest_of(raw) in {entry["digest"] for entry in json.loads(listed)["manifests"]}


ACTS: list[Callable[[Leased, random.Random, str], None]] = [push, push, pull, pull, delete, attach]


@contextmanager
def collecting(root: Path, lease: float, failures: list[BaseException]) -> Iterator[list[int]]:
    """Collections one after the other, in this process; yields how many bytes each freed."""
    index, storage = SqliteIndex(root), FileStorage(root)
    collector = Collector.of(RegistryConfig(root=root), index, storage)
    stop, rounds = threading.Event(), []

    def collect() -> None:
        try:
            while not stop.is_set():
                # The server looks after itself once, when it starts.
                with suppress(CollectionBusyError):
                    rounds.append(collector.run(lease=lease).bytes)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join()
        index.close()


def act(client: Leased, seed: int, until: float, failures: list[BaseException]) -> None:
    rng = random.Random(seed)
    try:
        while time.monotonic() < until and not failures:
            rng.choice(ACTS)(client, rng, f"{client.name}/{rng.choice(['one', 'two'])}")
    except BaseException as error:
        failures.append(error)
        raise


LONG = pytest.param(150.0, 10.0, id="minutes", marks=[pytest.mark.soak, pytest.mark.timeout(600)])


@pytest.mark.parametrize(("seconds", "lease"), [pytest.param(8.0, 4.0, id="seconds"), LONG])
def test_abuse_03_everything_at_once(tmp_path: Path, seconds: float, lease: float) -> None:
    root = tmp_path / "r"
    failures: list[BaseException] = []
    clients = [Leased(f"c{n}", collected=True, lease=lease) for n in range(4)]
    with (
        Nursery() as nursery,
        nursery.server(root, workers=2, lease=lease) as server,
        collecting(root, lease, failures) as rounds,
    ):
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=act, args=(client, number, until, failures))
            for number, client in enumerate(clients)
        ]
        for client, thread in zip(clients, threads, strict=True):
            client.port = server.port
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for client in clients:
            assert client.readable
            client.check()
    assert len(rounds) > 1
    store_is_clean(root)
