"""Records of builds on their way to another store, and what pretends to be some."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from engine.builds.history.archive import Entry, entries
from engine.builds.history.bundle import BundleError, bundled, read_bundle, record_of, take_in
from tests.engine.builds.history.kit import Story, log_of


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A build on record, with a log."""
    story = Story(tmp_path / "here", target="app")
    below = story.step("[1/2] COPY a /a", output=b"copied\n")
    story.step("[2/2] RUN make", 2.0, b"made \xff it\n", inputs=(below,))
    story.end()
    return story.entry()


def _moved(entry: Entry, root: Path, data: bytes | None = None) -> Entry:
    value = json.dumps(bundled([entry])).encode() if data is None else data
    taken, _ = take_in(str(root), read_bundle(value, "x"))
    assert taken == [entry.ref]
    return entries(str(root))[0]


def test_a_record_arrives_as_it_was(entry: Entry, tmp_path: Path) -> None:
    moved = _moved(entry, tmp_path / "there")
    assert moved.document() == entry.document()
    assert log_of(moved) == log_of(entry)
    assert moved.started_ms == entry.started_ms


def test_one_record_alone_and_compressed(entry: Entry, tmp_path: Path) -> None:
    alone = json.dumps(record_of(entry)).encode()
    assert _moved(entry, tmp_path / "a", alone).document() == entry.document()
    assert _moved(entry, tmp_path / "b", gzip.compress(alone)).document() == entry.document()


def test_what_is_there_stays_as_it_is(entry: Entry, tmp_path: Path) -> None:
    there = str(tmp_path / "there")
    builds = read_bundle(json.dumps(bundled([entry])).encode(), "x")
    assert take_in(there, builds) == ([entry.ref], 0)
    builds[0].document["name"] = "another"
    assert take_in(there, [*builds, *builds]) == ([], 2)
    document = entries(there)[0].document()
    assert document is not None
    assert document["name"] == "shop (app)"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b"{}",
        b'{"format": 2}',
        b'{"builds": {}}',
        b'{"builds": [1]}',
        b"\x1f\x8bdamaged",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_no_bundles(data: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(data, "there.json")
    assert "there.json" in str(caught.value.where)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ref", "../../../../etc/passwd"),
        ("ref", "a" * 25 + "\n"),
        ("ref", None),
        ("name", 5),
        ("name", "\ud800"),
        ("status", "running"),
        ("started", "now"),
        ("started", float("nan")),
        ("started", -1),
        ("started", 1e300),
        ("started", True),
        ("ended", []),
        ("request", []),
        ("request", {"args": {"A": 1}}),
        ("request", {"tags": "x"}),
        ("steps", []),
        ("steps", {"1": None}),
        ("steps", {"1": {"number": "1"}}),
        ("steps", {"1": {"number": 1, "name": "x", "outcome": "odd", "started": 0}}),
        (
            "steps",
            {"1": {"number": 1, "name": "x", "outcome": "cached", "started": 0, "inputs": [None]}},
        ),
        ("warnings", [["text"]]),
        ("materials", [1]),
        ("error", "text"),
        ("result", {"images": [1]}),
        ("context", 3),
        ("log", [[1, 2, 3]]),
        ("log", [["1", 0.0, 1, "x"]]),
    ],
)
def test_damaged_records_are_refused_whole(entry: Entry, field: str, value: Any) -> None:
    record = record_of(entry)
    assert record is not None
    with pytest.raises(BundleError):
        read_bundle(json.dumps(record | {field: value}).encode(), "x")


def test_what_nobody_knows_is_left_out(entry: Entry, tmp_path: Path) -> None:
    record = record_of(entry)
    assert record is not None
    record["request"]["shell"] = {"a": 1}
    record["steps"]["1"]["odd"] = [[[]]]
    moved = _moved(entry, tmp_path / "there", json.dumps(record | {"extra": 1}).encode())
    assert moved.document() == entry.document()


def test_a_bundle_that_unpacks_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.builds.history.bundle.LIMIT", 1 << 10)
    with pytest.raises(BundleError, match="MiB"):
        read_bundle(gzip.compress(b" " * (1 << 20)), "x")
