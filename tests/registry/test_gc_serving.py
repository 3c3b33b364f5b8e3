"""Collections beside a server: what a client was told exists is there when it comes back.

The collections run as another process would, on an index and a storage of their own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.collection.collector import Collector
from registry.collection.leases import Leases, cutoff, note_boot, slack
from registry.collection.report import CollectionReport
from registry.collection.settings import CollectionSettings, UntaggedRule
from registry.committer import Committer
from registry.config import RegistryConfig
from registry.index import SqliteIndex
from registry.storage import FileStorage
from tests.registry import kit
from tests.registry.conftest import StartRegistry
from tests.registry.contract import holds
from tests.registry.kit import Client, digest_of
from tests.registry.store_kit import DAY, HOUR, Clock, Store

OCI = {"Content-Type": OCI_MANIFEST}
RULED = CollectionSettings(untagged=(UntaggedRule(after=0.0),), undo=0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
async def client(start: StartRegistry) -> Client:
    """A registry that leaves collections to the test."""
    return await start(collection=CollectionSettings(interval=None))


def age(root: Path) -> None:
    """Let every lease and file be a day older."""
    import os

    connection = sqlite3.connect(root / "index.db", isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("UPDATE blob_links SET leased = leased - 86400")
    sql = "UPDATE manifests SET leased = leased - 86400, created = created - 86400"
    connection.execute(sql)
    connection.close()
    for path in (root / "blobs").glob("sha*/*"):
        moment = path.stat().st_mtime - DAY
        os.utime(path, (moment, moment))


async def collect(root: Path, settings: CollectionSettings = RULED) -> CollectionReport:
    def run() -> CollectionReport:
        index = SqliteIndex(root)
        try:
            config = RegistryConfig(root=root, collection=settings)
            return Collector.of(config, index, FileStorage(root)).run()
        finally:
            index.close()

    return await asyncio.to_thread(run)


async def later(root: Path) -> None:
    await asyncio.to_thread(age, root)


async def head(client: Client, path: str) -> int:
    return (await client.send("HEAD", path)).status


async def push_by_head(client: Client) -> None:
    assert await head(client, f"/v2/a/blobs/{digest_of(b'layer')}") == 200


async def push_by_mount(client: Client) -> None:
    path = f"/v2/a/blobs/uploads/?mount={digest_of(b'layer')}&from=origin"
    assert (await client.send("POST", path)).status == 201


async def push_by_upload(client: Client) -> None:
    await client.push_blob("a", b"layer")


async def push_by_session(client: Client) -> None:
    """An upload that rested for a day before its last request."""
    location = await client.start_upload("a")
    await client.send("PATCH", location, data=b"layer")
    path = f"{location}?digest={digest_of(b'layer')}"
    assert (await client.send("PUT", path)).status == 201


@holds("What a client was told exists stays for the lease.")
@pytest.mark.parametrize("tell", [push_by_head, push_by_mount, push_by_upload, push_by_session])
async def test_04_what_was_told_outlives_a_collection(
    client: Client, root: Path, tell: Callable[[Client], Awaitable[None]]
) -> None:
    """Told that the layer is there; a collection; the manifest that needs it is accepted."""
    for repository in ("a", "origin"):
        await client.push_blob(repository, b"{}")
        await client.push_blob(repository, b"layer")
    await client.push_manifest("origin", kit.manifest(layers=[b"layer"]), "keep")
    await later(root)
    await client.push_blob("a", b"{}")
    await tell(client)
    await collect(root)
    raw = kit.manifest(layers=[b"layer"])
    answer = await client.send("PUT", "/v2/a/manifests/t", data=raw, headers=OCI)
    assert answer.status == 201
    got = await client.send("GET", f"/v2/a/blobs/{digest_of(b'layer')}")
    assert got.body == b"layer"


async def test_04_without_being_told_it_goes(client: Client, root: Path) -> None:
    digest = await client.push_blob("a", b"layer")
    assert (await client.send("GET", f"/v2/a/blobs/{digest}")).status == 200
    await later(root)
    assert (await collect(root)).blobs == 1
    assert await head(client, f"/v2/a/blobs/{digest}") == 404, "also from a cache that was warm"
    assert (await client.send("GET", f"/v2/a/blobs/{digest}")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_04_manifests_too(client: Client, root: Path, method: str) -> None:
    """An index may be pushed over a manifest that was there a moment ago."""
    raw = await client.push_image("a", layers=[b"layer"])
    await later(root)
    path = f"/v2/a/manifests/{digest_of(raw)}"
    assert (await client.send(method, path)).status == 200
    await collect(root)
    top = kit.index([raw])
    headers = {"Content-Type": OCI_INDEX}
    assert (await client.send("PUT", "/v2/a/manifests/t", data=top, headers=headers)).status == 201
    await later(root)
    await collect(root)
    assert await head(client, path) == 200
    assert await head(client, f"/v2/a/blobs/{digest_of(b'layer')}") == 200


async def test_05_delete_collect_push_pull(client: Client, root: Path) -> None:
    """Without a restart between them, and with warm caches."""
    for _ in range(3):
        raw = await client.push_image("a", "t", layers=[b"layer"])
        for path in (f"/v2/a/blobs/{digest_of(b'layer')}", "/v2/a/manifests/t"):
            assert (await client.send("GET", path)).status == 200
        assert (await client.send("DELETE", f"/v2/a/manifests/{digest_of(raw)}")).status == 202
        await later(root)
        assert (await collect(root)).files == 3
        assert await head(client, f"/v2/a/blobs/{digest_of(b'layer')}") == 404


async def test_17_a_repository_that_let_go_stays_without(client: Client, root: Path) -> None:
    """Collections know repositories apart: reads through one restore nothing in the other."""
    raw = await client.push_image("a", "t", layers=[b"layer"])
    await client.push_image("b", "t", layers=[b"layer"])
    path = f"blobs/{digest_of(b'layer')}"
    await client.send("DELETE", f"/v2/a/manifests/{digest_of(raw)}")
    await later(root)
    assert (await client.send("GET", f"/v2/b/{path}")).body == b"layer"
    await collect(root)
    assert (await client.send("GET", f"/v2/b/{path}")).body == b"layer"
    for method in ("HEAD", "GET"):
        assert (await client.send(method, f"/v2/a/{path}")).status == 404


async def test_an_upload_slower_than_the_lease_is_told(
    start: StartRegistry, root: Path, monkeypatch: pytest.MonkeyPatch, faults_expected: None
) -> None:
    """Its bytes are collected between rename and commit: an error, never a 201 without bytes."""
    client = await start()
    link = SqliteIndex.link_blob

    def collected_meanwhile(index: SqliteIndex, name: str, digest: str, size: int) -> None:
        for path in (root / "blobs" / "sha256").iterdir():
            path.unlink()
        link(index, name, digest, size)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, "link_blob", collected_meanwhile)
        path = f"/v2/a/blobs/uploads/?digest={digest_of(b'x')}"
        answer = await client.send("POST", path, data=b"x")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert await head(client, f"/v2/a/blobs/{digest_of(b'x')}") == 404
    await client.push_blob("a", b"x")


async def test_the_server_collects_by_itself(start: StartRegistry, root: Path) -> None:
    import os

    def push() -> str:
        store = Store(root)
        digest = store.push_blob("a", b"x")
        store.close()
        return digest

    digest = await asyncio.to_thread(push)
    await later(root)
    client = await start()
    for _ in range(1200):
        if not await asyncio.to_thread(os.listdir, root / "blobs" / "sha256"):
            break
        await asyncio.sleep(0.05)
    assert await head(client, f"/v2/a/blobs/{digest}") == 404
    assert not await asyncio.to_thread(os.listdir, root / "blobs" / "sha256")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "leases")


async def test_leases_are_written_seldom_and_last(store: Store) -> None:
    """From any answer on, at least one whole lease; in an eighth of it, at most one write."""
    index, clock = store.index, store.clock
    digest = await asyncio.to_thread(store.push_blob, "a", b"x")
    committer = Committer(index)
    leases = Leases(index, committer, HOUR, clock=clock)

    def leased() -> int:
        link = index.blob("a", digest)
        assert link is not None
        return link.leased

    begun, written = await asyncio.to_thread(leased), set()
    answered = []
    for _ in range(200):
        clock.now += HOUR / 50
        if not leases.fresh("a", digest):
            assert await leases.blob("a", digest, await asyncio.to_thread(leased))
        answered.append((clock.now, await asyncio.to_thread(leased)))
        written.add(answered[-1][1])
    assert len(written - {begun}) <= 200 * HOUR / 50 / slack(HOUR)
    for told, moment in answered:
        assert cutoff(told + HOUR, HOUR) <= moment, "no collection within the hour may take it"
    await asyncio.to_thread(committer.close)
    store.close()


async def test_a_lease_on_what_is_gone_is_refused(store: Store) -> None:
    committer = Committer(store.index)
    leases = Leases(store.index, committer, HOUR, clock=store.clock)
    assert not await leases.manifest("a", kit.MISSING, 0)
    assert not leases.fresh("a", kit.MISSING)
    await asyncio.to_thread(committer.close)
    store.close()


def test_after_a_crash_of_the_machine_leases_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = Store(tmp_path, clock=clock)
    boot = tmp_path / "boot_id"
    monkeypatch.setattr("registry.sql.sqlite._BOOT_ID", boot)
    boot.write_text("one")
    note_boot(store.index, clock())
    digest = store.push_blob("a", b"x")
    clock.now += DAY
    boot.write_text("two")
    note_boot(store.index, clock())
    assert store.collect().blobs == 0
    clock.now += DAY
    note_boot(store.index, clock())
    assert store.collect().blobs == 1
    assert not store.has("a", digest)
    store.close()
