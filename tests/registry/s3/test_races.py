"""Pushes against collections without a lease: no row without bytes, ever."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial

import pytest

from images.digest import Digest
from registry.errors import CollectionBusyError, ContentVanishedError
from tests.registry.s3.kit import Store, collected

pytestmark = pytest.mark.peer

BLOBS = [b"blob %d" % number for number in range(3)]
ROUNDS = 25


def test_abuse_03_pushes_against_a_collection_without_a_lease(store: Store) -> None:
    same = collected(store)
    same.clock.now += 10_000  # whatever was pushed is older than this, so everything may go
    done = threading.Event()
    failures: list[BaseException] = []
    stored = 0

    def push(repository: str) -> None:
        nonlocal stored
        try:
            for number in range(ROUNDS):
                data = BLOBS[number % len(BLOBS)]
                digest = Digest.of(data)
                store.storage.put(data, digest)
                link = partial(same.index.link_blob, repository, str(digest), len(data))
                with suppress(ContentVanishedError):
                    same.index.write(repository, link)
                    assert store.storage.read(digest, limit=99) == data
                    stored += 1
                    unlink = partial(same.index.unlink_blob, repository, str(digest))
                    same.index.write(repository, unlink)
        except BaseException as error:  # noqa: BLE001 -- handed to the test
            failures.append(error)

    def collect() -> None:
        try:
            while not done.is_set():
                with suppress(CollectionBusyError):
                    same.collector().run(lease=0)
        except BaseException as error:  # noqa: BLE001 -- handed to the test
            failures.append(error)

    pushing = [threading.Thread(target=push, args=(f"r{number}",)) for number in range(2)]
    collecting = threading.Thread(target=collect)
    for thread in (*pushing, collecting):
        thread.start()
    for thread in pushing:
        thread.join()
    done.set()
    collecting.join()
    assert not failures, failures
    assert stored
    same.clock.now += 10_000
    same.collector().run(lease=0)
    assert not store.names()
    same.close()
