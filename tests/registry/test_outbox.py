"""What followers are told: every change, once, in order, and nothing that was refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.errors import MissingContentError
from registry.index import SqlIndex
from registry.outbox import Change, Event, Outbox, drop_events, read_events
from registry.records import NewManifest
from tests.registry.store_kit import open_index

FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqlIndex]:
    index = open_index(tmp_path, outbox=Outbox(followed=True), clock=lambda: 1000.0)
    yield index
    index.close()


def put(index: SqlIndex, digest: str, *tags: str, **more: str) -> None:
    manifest = NewManifest(digest, "application/json", 2, **more)
    index.write("a", partial(index.put_manifest, "a", manifest, tags, actor="user:ada"))


def told(index: SqlIndex, after: int = 0) -> list[Event]:
    return read_events(index.reader(), after=after)


def test_every_change_is_told_in_order(index: SqlIndex) -> None:
    put(index, FIRST, "latest")
    put(index, SECOND, "latest", subject=FIRST, artifact_type="example/sbom")
    index.write("a", partial(index.delete_tag, "a", "latest", actor="user:bob"))
    index.write("a", partial(index.delete_manifest, "a", FIRST))
    seen = [
        (event.change, event.digest, event.tag, event.previous, event.actor)
        for event in told(index)
    ]
    assert seen == [
        (Change.MANIFEST, FIRST, "", "", "user:ada"),
        (Change.TAG, FIRST, "latest", "", "user:ada"),
        (Change.MANIFEST, SECOND, "", FIRST, "user:ada"),
        (Change.TAG, SECOND, "latest", FIRST, "user:ada"),
        (Change.UNTAG, "", "latest", SECOND, "user:bob"),
        (Change.DELETE, FIRST, "", "", ""),
    ]
    assert {event.moment for event in told(index)} == {1000}
    assert told(index)[2].artifact_type == "example/sbom"


def test_deleting_a_manifest_tells_of_its_tags(index: SqlIndex) -> None:
    put(index, FIRST, "one", "two")
    index.write("a", partial(index.delete_manifest, "a", FIRST))
    last = [(event.change, event.tag) for event in told(index)[-3:]]
    assert last == [(Change.UNTAG, "one"), (Change.UNTAG, "two"), (Change.DELETE, "")]


def test_a_tag_that_stays_is_no_change(index: SqlIndex) -> None:
    put(index, FIRST, "latest")
    put(index, FIRST, "latest")
    changes = [event.change for event in told(index)]
    assert changes == [Change.MANIFEST, Change.TAG, Change.MANIFEST]


def test_what_was_refused_did_not_happen(index: SqlIndex) -> None:
    with pytest.raises(MissingContentError):
        put(index, FIRST, "latest", blobs=((SECOND, 1),))  # type: ignore[arg-type]
    assert told(index) == []


def test_followers_go_on_after_their_position(index: SqlIndex) -> None:
    put(index, FIRST, "latest")
    first = told(index)[0]
    assert [event.change for event in told(index, after=first.id)] == [Change.TAG]
    assert index.write("", partial(drop_events, index.writer, through=first.id)) == 1
    assert [event.change for event in told(index)] == [Change.TAG]
    index.write("", partial(drop_events, index.writer, through=10))
    put(index, SECOND)
    assert told(index)[0].id > first.id + 1, "an id is never used again"


def test_without_followers_nothing_is_written(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    put(index, FIRST, "latest")
    assert told(index) == []
    index.close()
