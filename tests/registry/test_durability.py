"""The durability contract, with kill -9 as the judge (abuse 1).

Clients push, mount, delete and resume without pause; the server is killed at a random moment and
started again on the same store, over and over. Each client knows what it was told.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.index import SqliteIndex
from registry.inspection.check import Severity, check
from registry.storage import FileStorage
from tests.registry.contract import holds
from tests.registry.crashmodel import Client, Unreachable, work
from tests.registry.kit import digest_of
from tests.registry.nursery import Nursery, Server

CLIENTS = 3


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def work_until_killed(client: Client, seed: int, failures: list[BaseException]) -> None:
    rng = random.Random(seed)
    try:
        while True:
            work(client, rng)
    except Unreachable:
        return
    except BaseException as error:
        failures.append(error)
        raise


def kill_under_load(server: Server, clients: list[Client], seed: int) -> None:
    failures: list[BaseException] = []
    workers = [
        threading.Thread(target=work_until_killed, args=(client, seed * 100 + n, failures))
        for n, client in enumerate(clients)
    ]
    for worker in workers:
        worker.start()
    time.sleep(random.Random(seed).uniform(0.01, 0.3))
    server.kill()
    for worker in workers:
        worker.join()
    assert not failures


def blobs_are_whole(root: Path) -> None:
    """Every file that is named by a digest hashes to it, whoever may read it."""
    for algorithm in ("sha256", "sha512"):
        for file in (root / "blobs" / algorithm).iterdir():
            assert digest_of(file.read_bytes(), algorithm).endswith(file.name)


def store_is_clean(root: Path) -> None:
    """No file is half written, and index, journal and files agree (``lading registry check``)."""
    blobs_are_whole(root)
    index, storage = SqliteIndex(root), FileStorage(root)
    try:
        found = [one for one in check(root, index, storage) if one.severity is Severity.PROBLEM]
    finally:
        index.close()
    assert not found


def kill_again_and_again(nursery: Nursery, root: Path, seeds: range, workers: int) -> None:
    clients = [Client(f"c{n}") for n in range(CLIENTS)]
    for seed in seeds:
        with nursery.server(root, workers=workers) as server:
            for client in clients:
                client.port = server.port
                client.check()
            kill_under_load(server, clients, seed)
        store_is_clean(root)
    with nursery.server(root) as server:
        for client in clients:
            client.port = server.port
            client.check()


@holds(
    "A 201 survives kill -9 and power loss.",
    "A failed write leaves nothing readable.",
    "What is deleted is gone at once and stays gone.",
    "An upload session survives.",
)
@pytest.mark.parametrize(("rounds", "workers"), [(10, 1), (5, 2)])
def test_abuse_01_kill_at_random_moments(
    nursery: Nursery, tmp_path: Path, rounds: int, workers: int
) -> None:
    kill_again_and_again(nursery, tmp_path / "r", range(rounds), workers)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
def test_abuse_01_kill_hundreds_of_times(nursery: Nursery, tmp_path: Path, workers: int) -> None:
    start = random.SystemRandom().randrange(10**6) * 1000
    print(f"seeds from {start}")
    for first in range(start, start + 200, 20):  # what is checked each time grows with a store
        kill_again_and_again(nursery, tmp_path / str(first), range(first, first + 20), workers)
