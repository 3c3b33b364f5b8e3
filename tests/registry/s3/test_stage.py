"""Uploads in a bucket: growth in parts, tails between requests, moves between processes."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from images.digest import Digest
from images.errors import BlobUnknownError, DigestMismatchError
from registry import presence
from registry.errors import ObjectStoreError
from registry.s3 import sessions
from registry.s3.stage import ObjectStage
from registry.s3.storage import ObjectStorage
from tests.registry.s3.kit import PART, Store

pytestmark = pytest.mark.peer

DATA = bytes(range(256)) * 10
WORDS = 3 * PART // 4 + 1000
BIG = struct.pack(f">{WORDS}I", *range(WORDS))


def feed(stage: ObjectStage, data: bytes, *, step: int = 1 << 20) -> None:
    assert stage.acquire()
    try:
        for start in range(0, len(data), step):
            stage.append([data[start : start + step]])
    finally:
        stage.release()


def finish(stage: ObjectStage, digest: Digest) -> int:
    assert stage.acquire()
    try:
        return stage.commit(digest)
    finally:
        stage.release()


def test_small_content_takes_one_object(store: Store) -> None:
    stage = store.storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA[:100], DATA[100:1000]])
    stage.append([])
    stage.append([DATA[1000:]])
    assert stage.commit(Digest.of(DATA)) == len(DATA)
    stage.release()
    assert store.storage.read(Digest.of(DATA), limit=len(DATA)) == DATA
    assert len(store.names()) == 1
    assert (store.rows("object_stages"), store.rows("object_claims")) == (0, 0)


def test_nothing_at_all_is_a_blob(store: Store) -> None:
    stage = store.storage.create("u", "sha256")
    assert finish(stage, Digest.of(b"")) == 0
    assert store.storage.read(Digest.of(b""), limit=0) == b""


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_large_content_in_one_request(store: Store, algorithm: str) -> None:
    stage = store.storage.create("u", algorithm)
    feed(stage, BIG)
    digest = Digest.of(BIG, algorithm)
    assert finish(stage, digest) == len(BIG)
    with store.storage.open(digest) as file:
        assert file.read() == BIG
    assert len(store.names()) == 1
    assert not store.multiparts()


def test_every_process_goes_on_where_the_last_one_ended(store: Store) -> None:
    """Cuts inside the first tail, across parts, and before a commit elsewhere."""
    views = [store.storage, store.again(), store.again()]
    cuts = [0, 100, PART + 10, PART + 20, 2 * PART + 7, len(BIG)]
    views[0].create("u", "sha256")
    for number, (start, end) in enumerate(pairwise(cuts)):
        stage = views[number % 3].resume("u", "sha256")
        feed(stage, BIG[start:end])
        assert stage.size == end
    assert finish(store.again().resume("u", "sha256"), Digest.of(BIG)) == len(BIG)
    with store.storage.open(Digest.of(BIG)) as file:
        assert file.read() == BIG
    assert len(store.names()) == 1


def test_a_digest_of_the_other_algorithm(store: Store) -> None:
    stage = store.storage.create("u", "sha256")
    feed(stage, BIG)
    digest = Digest.of(BIG, "sha512")
    finish(stage, digest)
    assert store.storage.size(digest) == len(BIG)


@pytest.mark.parametrize("data", [DATA, BIG], ids=["small", "big"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_wrong_digest_publishes_nothing(store: Store, data: bytes, moved: bool) -> None:
    stage = store.storage.create("u", "sha256")
    feed(stage, data)
    if moved:
        stage = store.again().resume("u", "sha256")
    assert stage.acquire()
    with pytest.raises(DigestMismatchError):
        stage.commit(Digest.of(b"other"))
    assert not store.rows("objects")
    stage.discard()
    stage.discard()
    stage.release()
    assert not store.names()
    assert not store.multiparts()
    with pytest.raises(FileNotFoundError):
        stage.acquire()
    for digest in (Digest.of(data), Digest.of(b"other")):
        with pytest.raises(BlobUnknownError):
            store.storage.open(digest)


def test_one_holder_at_a_time(store: Store) -> None:
    one = store.storage.create("u", "sha256")
    two = store.again().resume("u", "sha256")
    assert one.acquire()
    assert not two.acquire()
    assert not one.acquire()
    one.release()
    one.release()
    assert two.acquire()
    two.release()


def in_a_child(work: Callable[[], Any]) -> int:
    """Run in a fork, which kills itself at the end; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return child


def test_a_holder_that_was_killed_holds_nothing(store: Store) -> None:
    stage = store.storage.create("u", "sha256")
    feed(stage, DATA)

    def hold() -> None:
        mine = store.again().resume("u", "sha256")
        assert mine.acquire()
        mine.append([b"never acknowledged"])

    in_a_child(hold)
    assert stage.acquire()
    assert stage.size == len(DATA)
    assert stage.commit(Digest.of(DATA)) == len(DATA)
    stage.release()


def test_a_holder_elsewhere_is_given_up_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    elsewhere, here = (store.again(clock=lambda: now[0]) for _ in range(2))
    stage = elsewhere.create("u", "sha256")
    with monkeypatch.context() as patch:
        patch.setattr(presence, "_machine", lambda: "another/1")
        assert stage.acquire()
    stage.append([DATA])
    again = here.resume("u", "sha256")
    assert not again.acquire()
    now[0] += sessions.HOLD_SECONDS + 1
    assert again.acquire()
    with pytest.raises(ObjectStoreError, match="took over"):
        stage.commit(Digest.of(DATA))
    with pytest.raises(ObjectStoreError, match="took over"):
        stage.release()
    again.append([b"x"])
    assert again.commit(Digest.of(b"x")) == 1
    again.release()


class Failing:
    """A bucket whose parts fail when told to."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        if self.broken and name in ("part", "put"):
            raise ObjectStoreError("broken")
        return getattr(self._bucket, name)


def test_a_part_that_fails_takes_nothing(store: Store) -> None:
    failing = Failing(store.bucket)
    storage = ObjectStorage(failing, part_size=PART)  # type: ignore[arg-type]
    storage.attach(store.database)
    stage = storage.create("u", "sha256")
    feed(stage, BIG[: PART - 10])
    failing.broken = True
    assert stage.acquire()
    with pytest.raises(ObjectStoreError):
        stage.append([BIG[PART - 10 : PART + 10]])
    assert stage.size == PART - 10
    stage.release()
    failing.broken = False
    feed(stage, BIG[PART - 10 :])
    assert finish(stage, Digest.of(BIG)) == len(BIG)


def test_a_tail_that_cannot_be_kept_is_not_acknowledged(store: Store) -> None:
    failing = Failing(store.bucket)
    storage = ObjectStorage(failing, part_size=PART)  # type: ignore[arg-type]
    storage.attach(store.database)
    stage = storage.create("u", "sha256")
    feed(stage, DATA[:10])
    failing.broken = True
    with pytest.raises(ObjectStoreError):
        feed(stage, DATA[10:])
    failing.broken = False
    assert stage.acquire()
    assert stage.size == 10
    stage.append([DATA[10:]])
    stage.commit(Digest.of(DATA))
    stage.release()
    assert store.storage.read(Digest.of(DATA), limit=1 << 20) == DATA


def test_a_commit_that_was_killed_is_done_again(store: Store) -> None:
    """The parts have become an object, and the process ended before it got its name."""
    stage = store.storage.create("u", "sha256")
    feed(stage, BIG)
    assert stage.acquire()
    assert stage._gathered(verified=True) == "uploads/u/whole"
    stage.release()
    assert finish(store.again().resume("u", "sha256"), Digest.of(BIG)) == len(BIG)
    assert len(store.names()) == 1


def test_parts_that_somebody_else_aborted(store: Store) -> None:
    """As a lifecycle rule of the bucket may: told as a fault of the store, not as one of ours."""
    stage = store.storage.create("u", "sha256")
    feed(stage, BIG[: PART + 1])
    for name, upload in store.multiparts():
        store.bucket.abort(name, upload)
    with pytest.raises(ObjectStoreError, match="does not know"):
        feed(stage, BIG[PART + 1 :])
    assert stage.acquire()
    assert PART + 1 <= stage.size < 2 * PART
    with pytest.raises(ObjectStoreError):
        stage.commit(Digest.of(BIG[: stage.size]))
    stage.discard()
    stage.release()
    assert not store.names()
