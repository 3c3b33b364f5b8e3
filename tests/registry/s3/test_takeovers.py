"""A session that another process took over while its holder still lived, and did not know."""

from __future__ import annotations

import pytest

from images.digest import Digest
from images.errors import DigestMismatchError
from registry.errors import ObjectStoreError
from registry.s3.stage import ObjectStage
from registry.s3.storage import ObjectStorage
from tests.registry.s3.kit import PART, Store

pytestmark = pytest.mark.peer

MINE = b"m" * 1000
THEIRS = b"t" * 1000


def lose(store: Store) -> None:
    """What becomes of a session whose holder counts as dead."""
    store.database.writer.execute("UPDATE object_stages SET holder = ''")


def begun(store: Store, data: bytes) -> ObjectStage:
    stage = store.storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([data])
    return stage


def feed(storage: ObjectStorage, data: bytes) -> ObjectStage:
    stage = storage.resume("u", "sha256")
    assert stage.acquire()
    stage.append([data])
    stage.release()
    return stage


def test_the_former_holder_acknowledges_nothing_and_spoils_nothing(store: Store) -> None:
    former = begun(store, MINE)
    lose(store)
    later = feed(store.again(), THEIRS)
    with pytest.raises(ObjectStoreError, match="took over"):
        former.release()
    assert later.acquire()
    assert later.commit(Digest.of(THEIRS)) == len(THEIRS)
    later.release()
    assert store.storage.read(Digest.of(THEIRS), limit=1 << 20) == THEIRS


def test_the_former_holder_forgets_what_it_hashed(store: Store) -> None:
    """As many bytes as it took are there later, and they are others."""
    former = begun(store, MINE)
    lose(store)
    feed(store.again(), THEIRS)
    with pytest.raises(ObjectStoreError):
        former.release()
    assert former.acquire()
    with pytest.raises(DigestMismatchError):
        former.commit(Digest.of(MINE))
    assert former.commit(Digest.of(THEIRS)) == len(THEIRS)
    former.release()
    assert store.storage.read(Digest.of(THEIRS), limit=1 << 20) == THEIRS


def test_a_part_of_the_former_holder_changes_no_blob(store: Store) -> None:
    """Both store the first part; the store keeps one, and only the bytes that were hashed go."""
    former = begun(store, MINE)
    lose(store)
    later = feed(store.again(), THEIRS * (PART // 1000 + 1))
    with pytest.raises(ObjectStoreError):
        former.append([MINE * (PART // 1000 + 1)])
    with pytest.raises(ObjectStoreError):
        former.release()
    data = THEIRS * (PART // 1000 + 1)
    assert later.acquire()
    assert later.commit(Digest.of(data)) == len(data)
    later.release()
    assert store.storage.read(Digest.of(data), limit=1 << 24) == data
