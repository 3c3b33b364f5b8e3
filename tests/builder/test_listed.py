"""Layers that are only listed look like layers that are written out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.solver.listed import ListedTree
from builder.solver.materialise import materialise
from images.layers.entry import Entry
from images.layers.merged import MergedTree

OWNER = (os.geteuid(), os.getegid())


def _entry(path: str, kind: str = "f", text: str = "", link: str = "") -> Entry:
    return Entry(path, kind, 0o755, *OWNER, size=len(text), linkname=link, source=text.encode())


BELOW = [
    _entry("dir", "d"),
    _entry("dir/kept", text="below"),
    _entry("dir/shadowed", text="below"),
    _entry("etc", "d"),
    _entry("etc/passwd", text="below"),
    _entry("turned", "d"),
    _entry("turned/inside"),
]
MIDDLE = [
    _entry("dir", "d"),
    _entry("dir/shadowed", text="middle"),
    _entry("link", "l", link="dir"),
    _entry("file", text="middle"),
    _entry("turned", text="a file now"),
]
TOP = [
    _entry("dir", "d"),
    _entry("dir/deep", "d"),
    _entry("dir/deep/leaf", text="top"),
    _entry("dir/twin", "h", link="dir/deep/leaf"),
    _entry("file", "d"),
    _entry("file/inside", text="top"),
]


@pytest.fixture
def trees(tmp_path: Path) -> tuple[ListedTree, MergedTree]:
    directories = []
    for name, entries in (("top", TOP), ("middle", MIDDLE), ("below", BELOW)):
        directory = tmp_path / name
        directory.mkdir()
        written = [entry for entry in entries if entry.kind != "h"]
        materialise(written, directory)
        directories.append(directory)
    os.link(directories[0] / "dir/deep/leaf", directories[0] / "dir/twin")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return ListedTree([TOP, MIDDLE], directories[2:], scratch), MergedTree(directories)


def _shape(tree: MergedTree, path: str) -> list[tuple[str, bool, bool, int]]:
    return [
        (node.path, node.is_dir, node.is_symlink, node.status.st_mode)
        for node in tree.children(path)
    ]


@pytest.mark.parametrize("path", ["", "dir", "dir/deep", "etc", "file"])
def test_every_directory_shows_the_same(trees: tuple[ListedTree, MergedTree], path: str) -> None:
    listed, written = trees
    assert _shape(listed, path) == _shape(written, path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/dir/kept", "below"),
        ("/dir/shadowed", "middle"),
        ("/link/shadowed", "middle"),
        ("/dir/deep/leaf", "top"),
        ("/file/inside", "top"),
        ("/etc/passwd", "below"),
        ("/turned", "a file now"),
        ("/nowhere", None),
    ],
)
def test_text_is_read_from_where_it_is(
    trees: tuple[ListedTree, MergedTree], path: str, text: str | None
) -> None:
    assert trees[0].read_text(path) == text


def test_many_layers_have_one_skeleton(tmp_path: Path) -> None:
    """Hundreds of small copies would otherwise cost the square of their number."""
    listings = [[_entry("x", "d"), _entry(f"x/{number}")] for number in range(50)]
    tree = ListedTree(listings, [], tmp_path)
    assert len(tree.children("x")) == 50
    assert [path.name for path in tmp_path.rglob("*")] == ["x"]


def test_a_listed_file_hides_a_listed_directory(tmp_path: Path) -> None:
    above = [_entry("x", text="a file now")]
    below = [_entry("x", "d"), _entry("x/inside"), _entry("xy", "d")]
    tree = ListedTree([above, below], [], tmp_path)
    assert _shape(tree, "") == [("x", False, False, 0o100755), ("xy", True, False, 0o040755)]
    assert tree.lookup("x/inside") is None
