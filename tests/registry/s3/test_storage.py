"""Blobs in a bucket: copies in parts, races for a name, what kills leave, and the collector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InternalError,
    SizeLimitError,
)
from registry.database import NO_REPOSITORY, Write
from registry.errors import ContentVanishedError, ObjectStoreError
from registry.inspection.check import Severity, check
from registry.inspection.scrub import scrub
from registry.s3.ledger import (
    CLAIM_SECONDS,
    YOUNG_SECONDS,
    Ledger,
    Stored,
    object_name,
    staged_name,
)
from registry.s3.reading import ObjectFile
from tests.registry.kit import digest_of
from tests.registry.s3.kit import PART, Store, collected
from tests.registry.store_kit import DAY

pytestmark = pytest.mark.peer

DATA = bytes(range(256)) * 10
BIG = os.urandom(2 * PART + 1234)
LONG_AGO = 0.0


def test_put_in_either_algorithm(store: Store) -> None:
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(DATA, algorithm)
        store.storage.put(DATA, digest)
        store.storage.put(DATA, digest)
        assert store.storage.read(digest, limit=len(DATA)) == DATA
        assert store.storage.size(digest) == len(DATA)
    assert len(store.names()) == 2
    with pytest.raises(DigestMismatchError):
        store.storage.put(b"other", Digest.of(DATA))
    with pytest.raises(SizeLimitError):
        store.storage.read(Digest.of(DATA), limit=10)


def test_content_from_elsewhere(store: Store) -> None:
    pieces = [BIG[:PART], BIG[PART:]]
    store.storage.take(pieces, Digest.of(BIG), len(BIG))
    with store.storage.open(Digest.of(BIG)) as file:
        assert file.read(100) + file.read() == BIG
    with pytest.raises(SizeLimitError):
        store.storage.take(pieces, Digest.of(b"x"), 100)
    with pytest.raises(DigestMismatchError):
        store.storage.take(pieces, Digest.of(b"x"), len(BIG))
    assert len(store.names()) == 1
    assert not store.multiparts()


def test_what_one_copy_cannot_take_is_copied_in_parts(store: Store) -> None:
    """As with objects of more than 5 GiB, by a limit of 5 MiB."""
    storage = store.again(copy_part_size=PART)
    calls: list[str] = []
    client = storage._bucket._client
    client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    storage.take([BIG[:PART], BIG[PART:]], Digest.of(BIG), len(BIG))
    assert calls.count("UploadPartCopy") == 3
    assert "CopyObject" not in calls
    with storage.open(Digest.of(BIG)) as file:
        assert file.read() == BIG
    assert len(store.names()) == 1


def test_a_copy_that_fails_leaves_no_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = store.again(copy_part_size=PART)

    def fail(*_: Any, **__: Any) -> str:
        raise ObjectStoreError("broken")

    monkeypatch.setattr(storage._bucket, "part_of", fail)
    with pytest.raises(ObjectStoreError):
        storage.take([BIG], Digest.of(BIG), len(BIG))
    assert not store.names()
    assert not store.multiparts()


def test_of_two_that_store_the_same_bytes_the_first_is_kept(store: Store) -> None:
    digest = Digest.of(DATA)
    ledger = store.storage._ledger
    names = [object_name(digest, token) for token in ("one", "two")]
    for name in names:
        ledger.claim(name)
        store.bucket.put(name, DATA)
    for name in names:
        ledger.record(digest, Stored(name, len(DATA)), instead=None)
    assert store.storage.find(digest).name == names[0]
    store.storage.empty_trash()
    assert store.names() == names[:1]


def test_a_claim_that_ended_is_not_recorded(store: Store) -> None:
    """A process that stood still for a day finds that its object may be gone."""
    digest = Digest.of(DATA)
    now = [1e9]
    ledger = Ledger(clock=lambda: now[0])
    ledger.attach(store.database)
    name = object_name(digest, "late")
    ledger.claim(name)
    now[0] += CLAIM_SECONDS + 1
    ledger.end_claims()
    with pytest.raises(ContentVanishedError):
        ledger.record(digest, Stored(name, len(DATA)), instead=None)


def test_an_object_that_vanished_is_stored_again(store: Store) -> None:
    digest = Digest.of(DATA)
    now = [1000.0]
    storage = store.again(clock=lambda: now[0])
    storage.put(DATA, digest)
    lost = storage.find(digest).name
    store.bucket.delete([lost])
    with pytest.raises(BlobUnknownError):
        storage.read(digest, limit=len(DATA))
    now[0] += YOUNG_SECONDS
    storage.put(DATA, digest)
    assert storage.read(digest, limit=len(DATA)) == DATA
    assert storage.find(digest).name != lost


def test_what_was_relied_on_a_moment_ago_is_not_asked_for(store: Store) -> None:
    storage = store.again()
    storage.put(DATA, Digest.of(DATA))
    calls: list[str] = []
    storage._bucket._client.meta.events.register(
        "before-call.s3", lambda model, **_: calls.append(model.name)
    )
    storage.put(DATA, Digest.of(DATA))
    assert not calls


def test_what_was_relied_on_since_is_spared(store: Store) -> None:
    digest = Digest.of(DATA)
    now = [1000.0]
    storage = store.again(clock=lambda: now[0])
    database = storage._ledger.database

    def retire(before: float) -> int | None:
        return database.write(NO_REPOSITORY, lambda: storage.retire(digest, before=before))

    storage.put(DATA, digest)
    now[0] = 2000.0
    assert storage.reclaimable(digest, before=1001.0) == len(DATA)
    storage.put(DATA, digest)
    assert storage.reclaimable(digest, before=1001.0) is None
    assert retire(1001.0) is None
    assert retire(2001.0) == len(DATA)
    assert retire(2001.0) == 0
    # A late delete of the old object cannot harm the new one: it has another name.
    storage.put(DATA, digest)
    storage.empty_trash()
    assert storage.read(digest, limit=len(DATA)) == DATA
    assert len(store.names()) == 1


def test_what_a_kill_left_goes_and_what_is_claimed_stays(store: Store) -> None:
    ledger = store.storage._ledger
    left, under_way = (object_name(Digest.of(DATA), token) for token in ("left", "under-way"))
    ledger.claim(under_way)
    for name in (left, under_way):
        store.bucket.put(name, DATA)
    store.bucket.begin(object_name(Digest.of(DATA), "half"))
    store.storage.put(b"kept", Digest.of(b"kept"))
    assert store.storage.sweep_stages() == len(DATA)
    assert store.names() == sorted([under_way, store.storage.find(Digest.of(b"kept")).name])
    assert not store.multiparts()


def test_what_an_open_upload_has_is_no_leftover(store: Store) -> None:
    """Its bytes have a blob's name already; they go with it, or become the blob."""
    kept, gone = (store.storage.create(upload, "sha256") for upload in ("kept", "gone"))
    for stage, data in ((kept, DATA), (gone, b"other")):
        assert stage.acquire()
        stage.append([data])
        stage.release()
    store.bucket.put(staged_name(Digest.of(DATA), "nobody", "1"), DATA)
    assert len(store.names("blobs/")) == 3
    assert store.storage.sweep_stages() == len(DATA)
    assert len(store.names("blobs/")) == 2
    assert gone.acquire()
    gone.discard()
    gone.release()
    (name,) = store.names("blobs/")
    # Whoever finishes it: the name says what the bytes are.
    elsewhere = store.again().resume("kept", "sha256")
    assert elsewhere.acquire()
    assert elsewhere.commit(Digest.of(DATA)) == len(DATA)
    elsewhere.release()
    assert store.storage.find(Digest.of(DATA)).name == name
    assert store.storage.sweep_stages() == 0


def test_bytes_that_go_on_get_another_name(store: Store) -> None:
    stage = store.storage.create("u", "sha256")
    for data in (DATA, b"more"):
        assert stage.acquire()
        stage.append([data])
        stage.release()
    (name,) = store.names()
    assert name.startswith("uploads/u/tail-")
    assert stage.acquire()
    assert stage.commit(Digest.of(DATA + b"more")) == len(DATA) + 4
    stage.release()
    (name,) = store.names()
    assert name.startswith("blobs/")
    assert store.storage.read(Digest.of(DATA + b"more"), limit=1 << 20) == DATA + b"more"


def test_a_blob_that_is_there_leaves_nothing_of_an_upload(store: Store) -> None:
    store.storage.put(DATA, Digest.of(DATA))
    (name,) = store.names()
    stage = store.storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA])
    stage.release()
    assert stage.acquire()
    stage.commit(Digest.of(DATA))
    stage.release()
    assert store.names() == [name]


def test_what_a_small_upload_costs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object, made once; begun, taken, rested, taken, ended: five transactions."""
    storage = store.again()
    database = storage._ledger.database
    calls: list[str] = []
    storage._bucket._client.meta.events.register(
        "before-call.s3", lambda model, **_: calls.append(model.name)
    )
    transactions: list[int] = []
    run = database.apply

    def counted(writes: Sequence[Write]) -> None:
        transactions.append(len(writes))
        run(writes)

    monkeypatch.setattr(database, "apply", counted)
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA])
    stage.release()
    assert stage.acquire()
    stage.commit(Digest.of(DATA))
    stage.release()
    assert calls == ["PutObject"]
    assert transactions == [1] * 5


def test_dead_uploads_end(store: Store) -> None:
    now = [1000.0]
    storage = store.again(clock=lambda: now[0])
    for upload in ("resting", "active"):
        stage = storage.create(upload, "sha256")
        assert stage.acquire()
        stage.append([BIG[: PART + 5]])
        stage.release()
    now[0] = 2000.0
    active = storage.resume("active", "sha256")
    assert active.acquire()
    active.append([b"more"])
    active.release()
    store.bucket.put("uploads/nobody/tail-3", b"abc")
    store.bucket.begin("uploads/nobody/whole")
    assert list(storage.idle(before=1500.0)) == ["resting"]
    assert storage.sweep(before=1500.0) == 1
    assert [name.split("/")[1] for name in store.names("uploads/")] == ["active"]
    assert [name for name, _ in store.multiparts()] == ["uploads/active/whole"]
    assert active.acquire()
    assert active.commit(Digest.of(BIG[: PART + 5] + b"more")) == PART + 9
    active.release()


def test_a_connection_that_breaks_is_made_again(store: Store) -> None:
    store.storage.put(DATA, Digest.of(DATA))

    class Body:
        def __init__(self, body: Any) -> None:
            self._body = body
            self._reads = 0

        def read(self, amount: int) -> bytes:
            self._reads += 1
            if self._reads == 2:
                raise ConnectionResetError("gone")
            data: bytes = self._body.read(min(amount, 1000))
            return data

        def close(self) -> None:
            self._body.close()

    class Flaky:
        def get(self, name: str, first: int, last: int) -> Body:
            return Body(store.bucket.get(name, first, last))

    name = store.storage.find(Digest.of(DATA)).name
    with ObjectFile(Flaky(), name, len(DATA), offset=7) as file:  # type: ignore[arg-type]
        assert file.read() == DATA[7:]


def test_check_and_scrub(store: Store) -> None:
    same = collected(store)
    digests = [same.push_blob("a", data) for data in (b"whole", b"rotten", b"missing")]
    names = {d: same.storage.find(Digest.parse(d)).name for d in digests}  # type: ignore[attr-defined]
    findings = list(check(store.root, same.index, same.storage))
    assert not [finding for finding in findings if finding.severity is Severity.PROBLEM]
    store.bucket.put(names[digests[1]], b"rottEn")
    store.bucket.delete([names[digests[2]]])
    found = {finding.code for finding in check(store.root, same.index, same.storage)}
    assert "blob-missing" in found
    report = scrub(store.root, same.index, same.storage, quarantine=True)
    assert report.damaged == (digests[1],)
    assert store.names("quarantine/") == [f"quarantine/{digests[1].replace(':', '-')}"]
    assert same.index.blob("a", digests[1]) is None
    with pytest.raises(BlobUnknownError):
        same.storage.open(Digest.parse(digests[1]))
    assert same.push_blob("a", b"rotten") == digest_of(b"rotten")
    assert same.storage.read(Digest.parse(digests[1]), limit=6) == b"rotten"
    same.close()


def test_a_damaged_object_is_not_served(store: Store) -> None:
    digest = Digest.of(DATA)
    store.storage.put(DATA, digest)
    store.bucket.put(store.storage.find(digest).name, bytes(len(DATA)))
    with pytest.raises(InternalError):
        store.storage.read(digest, limit=len(DATA))


def test_a_collection_that_was_killed_between_row_and_object_is_finished(store: Store) -> None:
    same = collected(store)
    digest = same.push_blob("a", b"old")
    same.clock.now += 2 * DAY
    collector = same.collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(same.storage, "empty_trash", lambda: None)
        collector.run()
    assert not same.on_disk(digest)
    assert len(store.names()) == 1
    same.collect()
    assert not store.names()
    same.close()


def test_nothing_is_on_this_machine(store: Store, tmp_path: Path) -> None:
    stage = store.storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([BIG])
    stage.release()
    store.storage.put(DATA, Digest.of(DATA))
    largest = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert largest < PART
    assert not (tmp_path / "root" / "blobs").exists()


def test_a_blob_is_read_from_anywhere(store: Store) -> None:
    data = bytes(range(256)) * 4096
    digest = Digest.of(data)
    store.storage.put(data, digest)
    with store.storage.open(digest) as file:
        assert file.read(10) == data[:10]
        assert file.seek(700_001) == 700_001
        assert file.read(5) == data[700_001:700_006]
        file.seek(-3, os.SEEK_END)
        assert (file.read(), file.read(1)) == (data[-3:], b"")
        file.seek(5_000_000)
        assert file.read(1) == b""
        with pytest.raises((OSError, ValueError)):
            file.seek(-1)
        file.seek(0)
        assert file.read() == data
