"""Undo: back to what a tag pointed to, by the same rules as any other move."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.errors import ImmutableTagError, UndoError
from registry.retention import ImmutableRule
from registry.tag_history import Undone, undo
from tests.registry.kit import digest_of
from tests.registry.store_kit import DAY, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def tagged(store: Store, tag: str = "t") -> str | None:
    row = store.index.tagged_manifest("a", tag)
    return None if row is None else row.digest


def test_a_move_a_deletion_and_a_beginning(store: Store) -> None:
    old, new = (digest_of(store.push_image("a", "t", layers=[x])) for x in (b"old", b"new"))
    assert undo(store.index, store.storage, "a", "t") == Undone(new, old)
    assert tagged(store) == old
    assert undo(store.index, store.storage, "a", "t") == Undone(old, new), "undone itself"
    store.delete_tag("a", "t")
    assert undo(store.index, store.storage, "a", "t") == Undone(None, new)
    assert tagged(store) == new
    store.push_image("a", "fresh")
    assert undo(store.index, store.storage, "a", "fresh").after is None
    assert tagged(store, "fresh") is None


def test_a_manifest_deleted_by_digest_comes_back_while_its_bytes_are_there(store: Store) -> None:
    store.push_image("a", "other")
    digest = digest_of(store.push_image("a", "t", layers=[b"layer"]))
    store.delete("a", digest)
    assert not store.has("a", digest)
    assert undo(store.index, store.storage, "a", "t").after == digest
    assert store.has("a", digest)
    store.clock.now += 2 * DAY
    assert store.collect().blobs == 0, "its references protect its blobs again"
    store.delete("a", digest)
    store.collect()
    with pytest.raises(UndoError) as caught:
        undo(store.index, store.storage, "a", "t")
    assert "collection.undo" in (caught.value.fix or "")


def test_nothing_to_undo(store: Store) -> None:
    with pytest.raises(UndoError):
        undo(store.index, store.storage, "a", "t")


def test_immutable_tags_do_not_go_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = (digest_of(store.push_image("a", "t", layers=[x])) for x in (b"old", b"new"))
    store.close()
    ruled = Store(tmp_path, immutable=[ImmutableRule()])
    with pytest.raises(ImmutableTagError):
        undo(ruled.index, ruled.storage, "a", "t")
    assert tagged(ruled) == new != old
    ruled.close()


def test_another_repository_gets_nothing(store: Store) -> None:
    """What one repository's history names cannot be reached through another's."""
    digest = digest_of(store.push_image("secret", "t", layers=[b"secret"]))
    store.push_image("a", "other")
    assert not store.index.write("a", partial(store.index.retag, "a", "t", digest))
    assert tagged(store) is None
