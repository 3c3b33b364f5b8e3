"""Collections whose holder loses its lock midway: another one collects, and both harm nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from images.digest import Digest
from images.mediatype import OCI_MANIFEST
from registry.collection.collector import Collector
from registry.collection.report import Progress
from registry.collection.settings import CollectionSettings
from registry.errors import CollectionBusyError
from registry.manifests import examine
from registry.retention import Immutability, Retention
from registry.s3.bucket import Bucket
from registry.s3.storage import ObjectStorage
from registry.sql.errors import DatabaseError
from registry.sql.postgres.index import PostgresIndex
from tests.registry.kit import manifest
from tests.registry.postgres_kit import PostgresServer
from tests.registry.replicas.servers import Replicas
from tests.registry.s3.kit import PART, Server

pytestmark = pytest.mark.peer

REPOSITORIES = 4


class Replica:
    """Index, blobs and collector of one replica, in this process."""

    def __init__(self, replicas: Replicas, bucket: Server) -> None:
        prefix = f"{replicas.settings.schema}/"
        self.storage = ObjectStorage(
            Bucket(bucket.client, bucket.bucket, prefix=prefix, copy_part_size=128 << 20),
            part_size=PART,
        )
        self.index = PostgresIndex(replicas.settings)
        self.storage.attach(self.index)
        self.collector = Collector(
            self.index,
            self.storage,
            CollectionSettings(),
            Retention((), Immutability(())),
            upload_expiry=3600.0,
        )

    def put(self, repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.storage.put(data, digest)
        link = partial(self.index.link_blob, repository, str(digest), len(data))
        self.index.write(repository, link)
        return digest

    def push(self, repository: str, tag: str, layer: bytes) -> None:
        """An image, as a client pushes it."""
        config = b"{}"
        for data in (layer, config):
            self.put(repository, data)
        raw = manifest(config, [layer])
        made = examine(raw, OCI_MANIFEST, Digest.of(raw))
        self.storage.put(raw, Digest.of(raw))
        put = partial(self.index.put_manifest, repository, made, [tag])
        self.index.write(repository, put)

    def is_whole(self, repository: str, tag: str, layer: bytes) -> bool:
        row = self.index.tagged_manifest(repository, tag)
        if row is None:
            return False
        self.storage.read(Digest.parse(row.digest), limit=1 << 20)
        return self.storage.read(Digest.of(layer), limit=1 << 20) == layer

    def close(self) -> None:
        self.index.close()


@pytest.fixture
def two(replicas: Replicas, bucket: Server) -> Iterator[tuple[Replica, Replica]]:
    made = Replica(replicas, bucket), Replica(replicas, bucket)
    yield made
    for replica in made:
        replica.close()


def garbage(number: int) -> bytes:
    return b"nobody needs this %d" % number


def cut_locks(server: PostgresServer) -> None:
    """End every connection, those that hold locks among them, as a failover does.

    The timeout makes it wait for their ends: they are not over when they were told so.
    """
    with suppress(Exception):
        server.sql(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


@pytest.mark.parametrize("step", [0, 2, 5])
def test_a_collector_that_lost_its_lock_harms_nothing(
    two: tuple[Replica, Replica], postgres_server: PostgresServer, step: int
) -> None:
    """Another one collects to the end; a client pushes again what both found to be garbage."""
    first, second = two
    for number in range(REPOSITORIES):
        first.push(f"r{number}", "kept", b"layer %d" % number)
        first.put(f"r{number}", garbage(number))
    # Without a lease what was touched in this second goes as well; so begin in the next one.
    time.sleep(1.1)
    steps = iter(range(1 << 20))

    def lose(_: Progress) -> None:
        if next(steps) == step:
            cut_locks(postgres_server)
            deadline = time.monotonic() + 60
            while True:
                try:
                    second.collector.run(lease=0)
                    break
                except (CollectionBusyError, DatabaseError):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            time.sleep(1.1)
            for number in range(REPOSITORIES):
                second.push(f"r{number}", "again", garbage(number))

    with suppress(DatabaseError):
        first.collector.run(lease=0, progress=lose)
    for replica in two:
        for number in range(REPOSITORIES):
            assert replica.is_whole(f"r{number}", "kept", b"layer %d" % number)
            assert replica.is_whole(f"r{number}", "again", garbage(number))


def test_one_of_two_collects_at_a_time(two: tuple[Replica, Replica]) -> None:
    first, second = two
    first.push("a", "1", b"layer")
    refused: list[bool] = []

    def look(_: Progress) -> None:
        if not refused:
            with pytest.raises(CollectionBusyError):
                second.collector.run()
            refused.append(True)

    first.collector.run(progress=look)
    assert refused
    assert second.collector.run().finished


def test_pushes_beside_two_collectors(two: tuple[Replica, Replica]) -> None:
    """Each replica pushes what the other's collections find to be garbage, without any lease."""
    over = threading.Event()
    failures: list[BaseException] = []

    def collect(replica: Replica) -> None:
        try:
            while not over.is_set():
                with suppress(CollectionBusyError):
                    replica.collector.run(lease=3600.0)
        except BaseException as error:  # noqa: BLE001 -- handed to the test
            failures.append(error)

    threads = [threading.Thread(target=collect, args=(replica,)) for replica in two]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            pusher, reader = two if number % 2 else two[::-1]
            pusher.push("shared", f"t{number}", garbage(number % 3))
            assert reader.is_whole("shared", f"t{number}", garbage(number % 3))
            delete = partial(pusher.index.delete_tag, "shared", f"t{number}")
            pusher.index.write("shared", delete)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures
