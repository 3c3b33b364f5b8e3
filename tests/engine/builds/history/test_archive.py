"""Finding and forgetting builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.builds.history.archive import (
    STALE_SECONDS,
    BuildUnknownError,
    document_log,
    entries,
    find,
    folder_of,
    prune,
)
from tests.engine.builds.history.kit import Clock, Story, log_of


@pytest.fixture
def stories(tmp_path: Path) -> list[Story]:
    """Three builds, the earliest first."""
    clock, told = Clock(), []
    for number in range(3):
        clock.now += 10
        story = Story(tmp_path, clock, context=f"/src/{number}")
        story.step("[1/1] RUN x", output=b"said %d\n" % number)
        story.end()
        told.append(story)
    return told


def test_references(stories: list[Story]) -> None:
    root = str(stories[0].root)
    refs = [story.recorder.ref for story in stories]
    assert [entry.ref for entry in entries(root)] == refs[::-1]
    assert find(root, "^0").ref == refs[2]
    assert find(root, "^2").ref == refs[0]
    assert find(root, refs[1]).ref == refs[1]
    assert find(root, refs[1][:20]).ref == refs[1]


@pytest.mark.parametrize(
    ("ref", "told"),
    [("^3", "only 3 builds"), ("nope", "no such build"), ("", "no such build"), ("^x", "no such")],
)
def test_unknown_references(stories: list[Story], ref: str, told: str) -> None:
    with pytest.raises(BuildUnknownError, match=told):
        find(str(stories[0].root), ref)


def test_a_beginning_of_several(tmp_path: Path) -> None:
    folder = Path(folder_of(str(tmp_path)))
    folder.mkdir(parents=True)
    for last in "xy":
        (folder / f"1700000000000-{'a' * 24}{last}.json").write_text("{}")
    with pytest.raises(BuildUnknownError, match="2 builds begin with aaa") as caught:
        find(str(tmp_path), "aaa")
    assert caught.value.fix is not None


def test_logs_are_those_of_the_build(stories: list[Story]) -> None:
    assert log_of(stories[1].entry()) == "said 1\n"
    lines = document_log(str(stories[0].root), stories[2].recorder.ref)
    assert [line.text for line in lines] == ["said 2\n"]
    assert document_log(str(stories[0].root), "unknown") == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 99}', b"\xff\xfe"])
def test_damaged_records_are_passed_over(stories: list[Story], damage: bytes) -> None:
    entry = stories[0].entry()
    Path(entry.stem + ".json").write_bytes(damage)
    Path(entry.stem + ".log.gz").write_bytes(damage)
    assert entry.document() is None
    assert list(entry.log()) == []
    assert len(entries(str(stories[0].root))) == 3
    assert entry.remove()


def test_pruning_by_number_bytes_and_age(stories: list[Story]) -> None:
    folder = folder_of(str(stories[0].root))
    size = stories[2].entry().size()
    assert prune(folder, builds=9) == (0, 0)
    assert prune(folder, builds=9, before=stories[0].clock.now - 15)[0] == 1
    assert prune(folder, builds=9, space=size + 10)[0] == 1
    assert [entry.ref for entry in entries(str(stories[0].root))] == [stories[2].recorder.ref]
    assert prune(folder, builds=0)[0] == 1
    assert os.listdir(folder) == []


def test_what_writers_left_behind_goes_when_it_is_old(stories: list[Story]) -> None:
    folder = Path(folder_of(str(stories[0].root)))
    half, alone = folder / "x.json.new", folder / f"1700000000000-{'b' * 25}.log.gz"
    for path in (half, alone):
        path.write_text("x")
    now = half.stat().st_mtime
    prune(str(folder), builds=9, now=now + 1)
    assert half.exists()
    assert alone.exists()
    prune(str(folder), builds=9, now=now + STALE_SECONDS + 1)
    assert not half.exists()
    assert not alone.exists()
    assert len(entries(str(stories[0].root))) == 3


def test_other_files_are_left_alone(stories: list[Story]) -> None:
    folder = Path(folder_of(str(stories[0].root)))
    (folder / "notes.txt").write_text("mine")
    prune(str(folder), builds=0)
    assert os.listdir(folder) == ["notes.txt"]
