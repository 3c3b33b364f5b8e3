"""ADD of local archives."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from builder.context import ContextTree
from builder.copying.plan import plan_copy
from builder.copying.target import PlacementError
from images.errors import ImagesError
from images.layers.entry import Entry
from images.layers.merged import MergedTree
from tests.builder.copying_kit import base, by_path, lines, make, request
from tests.oracle.trees import content


def added(
    root: Path, members: list[dict[str, Any]], below: MergedTree | None = None, **options: object
) -> list[Entry]:
    context = make(root / "context", {})
    packing = str(options.pop("packing", ""))
    (context / "t").write_bytes(content({"tar": members, "z": packing}))
    options = {"to": "/d", **options}
    wanted = request("t", unpack=True, instruction="ADD", **options)  # type: ignore[arg-type]
    return plan_copy(wanted, ContextTree(context), below or MergedTree([]))


@pytest.mark.parametrize("packing", ["", "gzip", "bzip2", "xz", "zstd"])
def test_every_compression(tmp_path: Path, packing: str) -> None:
    members = [{"p": "e", "t": "d"}, {"p": "e/f", "c": "F" * 10_000}, {"p": "g", "c": "G"}]
    entries = added(tmp_path, members, packing=packing)
    assert lines(entries) == ["d/", "d/e/", "d/e/f=" + "F" * 10_000, "d/g=G"]


def test_owners_and_modes_come_from_the_archive(tmp_path: Path) -> None:
    members = [{"p": "f", "m": "4711", "u": 5, "g": 6}]
    entry = by_path(added(tmp_path, members, chmod="600"))["d/f"]
    assert (entry.mode, entry.uid, entry.gid) == (0o4711, 5, 6)
    entry = by_path(added(tmp_path / "2", members, chown="7:8"))["d/f"]
    assert (entry.uid, entry.gid) == (7, 8)


def test_links_inside_the_archive(tmp_path: Path) -> None:
    members = [{"p": "f", "c": "F"}, {"p": "h", "t": "h", "c": "f"}, {"p": "l", "t": "l", "c": "f"}]
    assert lines(added(tmp_path, members)) == ["d/", "d/f=F", "d/h => d/f", "d/l -> f"]


def test_a_link_may_sort_before_its_file(tmp_path: Path) -> None:
    members = [
        {"p": "z", "c": "Z"},
        {"p": "a", "t": "h", "c": "z"},
        {"p": "b", "t": "h", "c": "a"},
        {"p": "s", "t": "l", "c": "z"},
        {"p": "r", "t": "h", "c": "s"},
        {"p": "z", "c": "new"},
    ]
    expected = ["d/", "d/a=Z", "d/b => d/a", "d/r -> z", "d/s -> z", "d/z=new"]
    assert lines(added(tmp_path, members)) == expected


def test_a_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    below = base(tmp_path, {"d/f": "below"})
    with pytest.raises(PlacementError, match="which the archive does not hold"):
        added(tmp_path, [{"p": "h", "t": "h", "c": "f"}], below)


@pytest.mark.parametrize("target", ["/etc", "../../../etc", "../etc"])
def test_entries_behind_links_stay_inside_the_root(tmp_path: Path, target: str) -> None:
    members = [{"p": "l", "t": "l", "c": target}, {"p": "l/evil", "c": "E"}]
    assert lines(added(tmp_path, members)) == ["d/", f"d/l -> {target}", "etc/", "etc/evil=E"]


def test_dot_dot_stops_at_the_destination(tmp_path: Path) -> None:
    members = [{"p": "../../evil", "c": "E"}, {"p": "/abs", "c": "A"}]
    assert lines(added(tmp_path, members)) == ["d/", "d/abs=A", "d/evil=E"]


def test_a_file_replaces_a_directory_and_the_reverse(tmp_path: Path) -> None:
    below = base(tmp_path, {"d/x/old": "o", "d/y": "file"})
    members = [{"p": "x", "c": "now a file"}, {"p": "y", "t": "d"}, {"p": "y/new", "c": "n"}]
    assert lines(added(tmp_path, members, below)) == ["d/", "d/x=now a file", "d/y/", "d/y/new=n"]


def test_a_directory_over_a_link_does_not_show_what_the_link_showed(tmp_path: Path) -> None:
    below = base(tmp_path, {"d/l": "-> ../real", "real/f": "R"})
    members = [{"p": "l", "t": "d"}, {"p": "l/f", "t": "l", "c": "x"}]
    entries = added(tmp_path, members, below)
    assert lines(entries) == ["d/", "d/l/", "d/l/f -> x"]


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    members = [{"p": "a/b", "c": "1"}, {"p": "a", "c": "2"}]
    assert lines(added(tmp_path, members)) == ["d/", "d/a=2"]


def test_whiteouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match="mean deletions"):
        added(tmp_path, [{"p": "x/.wh.gone"}])


def test_the_destination_may_not_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match="cannot create directory /d"):
        added(tmp_path, [{"p": "f"}], base(tmp_path, {"d": "file"}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        gzip.compress(b"not tar", mtime=0),
        b"\x1f\x8bgarbage",
        b"BZh9garbage",
        b"\xfd7zXZ\x00garbage",
        b"\x28\xb5\x2f\xfdgarbage",
        b"\0" * 1024,
    ],
)
def test_everything_else_is_a_file(tmp_path: Path, data: bytes) -> None:
    context = make(tmp_path / "context", {})
    (context / "t").write_bytes(data)
    wanted = request("t", to="/d/", unpack=True)
    entries = plan_copy(wanted, ContextTree(context), MergedTree([]))
    assert [entry.path for entry in entries] == ["d", "d/t"]
    assert entries[1].size == len(data)


def test_archives_inside_a_directory_stay_packed(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"sub/": None})
    (context / "sub/t.tar").write_bytes(content({"tar": [{"p": "f"}]}))
    entries = plan_copy(request("sub", to="/d", unpack=True), ContextTree(context), MergedTree([]))
    assert [entry.path for entry in entries] == ["d", "d/t.tar"]


@pytest.mark.parametrize("packing", ["", "gzip", "bzip2", "xz", "zstd"])
def test_a_truncated_archive_is_an_error(tmp_path: Path, packing: str) -> None:
    context = make(tmp_path / "context", {})
    noise = "".join(map(str, range(200_000)))
    data = content({"tar": [{"p": "a", "c": noise}, {"p": "b", "c": "B"}], "z": packing})
    (context / "t").write_bytes(data[: len(data) * 9 // 10])
    with pytest.raises(ImagesError):
        plan_copy(request("t", to="/d", unpack=True), ContextTree(context), MergedTree([]))


def test_contents_can_be_read_side_by_side(tmp_path: Path) -> None:
    entries = by_path(added(tmp_path, [{"p": "a", "c": "A" * 100}, {"p": "b", "c": "B" * 100}]))
    with entries["d/a"].open_source() as one, entries["d/b"].open_source() as two:
        assert one.read(50) == b"A" * 50
        assert two.read(150) == b"B" * 100
        assert one.read() == b"A" * 50
