"""Layers summed up: what each kind of entry does to those below it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator

import pytest

from images.errors import InvalidArchiveError
from images.layers.entry import Entry, opaque, whiteout
from images.layers.merge import LayerMerge


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, "d", mode)


def file(path: str, content: bytes = b"x") -> Entry:
    return Entry(path, "f", size=len(content), source=content)


def link(path: str, target: str) -> Entry:
    return Entry(path, "h", linkname=target)


def merged(*layers: list[Entry], flat: bool = False) -> list[tuple[str, str, str]]:
    """Path, kind and content (or the link's target) of what is left."""
    with tempfile.TemporaryFile() as scratch:
        merge = LayerMerge(scratch.fileno())
        for layer in layers:
            merge.apply(layer)
        return [_shown(entry) for entry in merge.entries(flat=flat)]


def _shown(entry: Entry) -> tuple[str, str, str]:
    with entry.open_source() as stream:
        return entry.path, entry.kind, entry.linkname or stream.read().decode()


D, F, H = "d", "f", "h"
CASES = {
    "a file is replaced": ([[file("a", b"1")], [file("a", b"2")]], [("a", F, "2")]),
    "a file is removed, below too": ([[file("a")], [whiteout("a")]], [(".wh.a", F, "")]),
    "what comes back needs no whiteout": (
        [[file("a", b"1")], [whiteout("a")], [file("a", b"2")]],
        [("a", F, "2")],
    ),
    "a removed directory that comes back is opaque": (
        [[whiteout("d")], [directory("d"), file("d/x")]],
        [("d", D, ""), ("d/.wh..wh..opq", F, ""), ("d/x", F, "x")],
    ),
    "one that comes back without being described is opaque": (
        [[whiteout("d")], [file("d/x")]],
        [("d/.wh..wh..opq", F, ""), ("d/x", F, "x")],
    ),
    "a directory in the place of a file is opaque": (
        [[file("d")], [directory("d")]],
        [("d", D, ""), ("d/.wh..wh..opq", F, "")],
    ),
    "a file in the place of a directory is all": (
        [[directory("d"), file("d/x"), whiteout("d/y")], [file("d", b"f")]],
        [("d", F, "f")],
    ),
    "an opaque directory loses what it had": (
        [[directory("d"), file("d/x")], [directory("d"), opaque("d"), file("d/y")]],
        [("d", D, ""), ("d/.wh..wh..opq", F, ""), ("d/y", F, "x")],
    ),
    "whiteouts speak of lower layers, wherever they stand": (
        [[file("a", b"1")], [file("a", b"2"), whiteout("a")]],
        [("a", F, "2")],
    ),
    "an opaque root leaves one layer": (
        [[file("a"), whiteout("b")], [opaque(""), file("c")]],
        [(".wh..wh..opq", F, ""), ("c", F, "x")],
    ),
    "opaque where nothing is known": (
        [[file("d/x")], [opaque("d")], [file("d/y")]],
        [("d/.wh..wh..opq", F, ""), ("d/y", F, "x")],
    ),
    "a link outlives its name": (
        [[file("a", b"1"), link("b", "a"), link("c", "a")], [whiteout("a")]],
        [(".wh.a", F, ""), ("b", F, "1"), ("c", H, "b")],
    ),
    "a link keeps the bytes of a name that was replaced": (
        [[file("a", b"1"), link("b", "a")], [file("a", b"2")]],
        [("a", F, "2"), ("b", F, "1")],
    ),
    "a link to a lower layer": (
        [[file("a", b"1")], [link("b", "a")]],
        [("a", F, "1"), ("b", H, "a")],
    ),
    "a link to what is below all": ([[link("b", "a")]], [("b", H, "a")]),
    "the first name in order has the bytes": (
        [[file("z", b"1"), link("a", "z")]],
        [("a", F, "1"), ("z", H, "a")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left(name: str) -> None:
    layers, left = CASES[name]
    assert merged(*layers) == left


def test_alone_nothing_speaks_of_layers_below() -> None:
    layers = [[file("a"), directory("d")], [whiteout("a"), whiteout("n"), opaque("d"), file("d/x")]]
    assert merged(*layers, flat=True) == [("d", D, ""), ("d/x", F, "x")]


def test_the_topmost_directory_has_the_attributes() -> None:
    with tempfile.TemporaryFile() as scratch:
        merge = LayerMerge(scratch.fileno())
        merge.apply([directory("", 0o755), directory("d", 0o755)])
        merge.apply([directory("d", 0o700)])
        merge.apply([directory("", 0o711)])
        assert [(entry.path, entry.mode) for entry in merge.entries()] == [
            ("", 0o711),
            ("d", 0o700),
        ]


def test_content_is_set_aside_when_it_comes() -> None:
    """A tar's stream gives each file once, and moves on."""
    large = bytes(range(256)) * 40
    position = {"at": ""}

    def entries() -> Iterator[Entry]:
        for name in ("a", "b", "c"):
            position["at"] = name

            def content(name: str = name) -> io.BytesIO:
                assert position["at"] == name
                return io.BytesIO(name.encode() + large)

            yield Entry(name, "f", size=1 + len(large), source=content)

    with tempfile.TemporaryFile() as scratch:
        merge = LayerMerge(scratch.fileno())
        merge.apply(entries())
        left = list(merge.entries())
        for entry in reversed(left):
            with entry.open_source() as stream:
                assert stream.read() == entry.path.encode() + large


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([[file("a")], [file("a/b")]], "something else below it"),
        ([[directory("a")], [link("b", "a")]], "hard link to a directory"),
        ([[Entry(".wh.", "f")]], "whiteout of no plain name"),
        ([[Entry("d/.wh...", "f")]], "whiteout of no plain name"),
    ],
)
def test_layers_that_cannot_be(layers: list[list[Entry]], what: str) -> None:
    with pytest.raises(InvalidArchiveError, match=what):
        merged(*layers)
