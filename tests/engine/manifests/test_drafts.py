"""Lists that were begun: durable, whole, and safe with several commands at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.manifests.drafts import Draft, DraftEntry, Drafts
from engine.manifests.entries import Entry
from engine.manifests.errors import ListUnknownError
from images.digest import Digest
from images.errors import InternalError
from images.mediatype import OCI_MANIFEST
from images.reference import Reference

NAME = Reference.parse("registry.test/app:list")


def entry(text: str) -> DraftEntry:
    raw = b'{"x": "%s"}' % text.encode()
    digest = Digest.of(raw)
    descriptor = {
        "mediaType": OCI_MANIFEST,
        "digest": str(digest),
        "size": len(raw),
        "platform": {"os": "linux", "architecture": text, "os.features": ["z"]},
        "unknown": [1],
    }
    name = Reference.parse(f"registry.test/app:{text}")
    return DraftEntry(name, Entry(name.with_digest(digest), descriptor), raw)


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    return Drafts(tmp_path / "lists")


def add(drafts: Drafts, item: DraftEntry) -> None:
    with drafts.locked(NAME):
        drafts.save((drafts.load(NAME) or Draft(NAME)).with_entry(item))


def test_what_was_saved_is_read_again(drafts: Drafts) -> None:
    assert drafts.load(NAME) is None
    add(drafts, entry("amd64"))
    add(drafts, entry("arm64"))
    assert drafts.get(NAME) == Draft(NAME, (entry("amd64"), entry("arm64")))


def test_an_image_named_again_takes_its_own_place(drafts: Drafts) -> None:
    for text in ("amd64", "arm64", "amd64"):
        add(drafts, entry(text))
    assert [str(item.name.tag) for item in drafts.get(NAME).entries] == ["amd64", "arm64"]


def test_a_list_is_forgotten_once(drafts: Drafts) -> None:
    add(drafts, entry("amd64"))
    drafts.remove(NAME)
    with pytest.raises(ListUnknownError, match=r"No such manifest: registry\.test/app:list"):
        drafts.remove(NAME)


def test_a_damaged_file_is_named(drafts: Drafts, tmp_path: Path) -> None:
    add(drafts, entry("amd64"))
    (path,) = (tmp_path / "lists").glob("*.json")
    for text in ("{", '{"format": 1}', '{"format": 9, "entries": []}'):
        path.write_text(text)
        with pytest.raises(InternalError) as caught:
            drafts.get(NAME)
        assert caught.value.where == str(path)


def test_commands_at_the_same_time_lose_nothing(drafts: Drafts) -> None:
    names = [f"arch{number}" for number in range(8)]
    threads = [threading.Thread(target=add, args=(drafts, entry(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item.name.tag for item in drafts.get(NAME).entries} == set(names)
