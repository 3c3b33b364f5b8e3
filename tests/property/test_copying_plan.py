"""Properties of placement: order, completeness, and that nothing leaves the root."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.copying.plan import plan_copy
from builder.copying.request import CopyRequest
from builder.errors import BuildInputError
from images.layers.entry import Entry
from images.layers.merged import MergedTree
from tests.builder.copying_kit import context, make

NAME = st.sampled_from(["a", "b", "c", "a-", "..x"])
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
TARGET = st.sampled_from(["a", "../b", "/", "/a/b", "..", "../../..", "/c", "nope"])
TREE = st.dictionaries(PATH, st.one_of(st.just("text"), TARGET.map("-> ".__add__)), max_size=6)
DESTINATION = st.sampled_from(["/", "/a", "/a/", "b/c", ".", "/../a/../b/", "/c/a"])
SOURCE = st.sampled_from(["a", "b", ".", "*", "a/*", "../a", "a/../b", "c/"])


def without_clashes(files: dict[str, str]) -> dict[str, str]:
    """Drop names below another name that is no directory."""
    return {
        path: text
        for path, text in files.items()
        if not any(path.startswith(f"{other}/") for other in files)
    }


def plan(
    sources: list[str],
    destination: str,
    files: dict[str, str],
    below: dict[str, str],
    **options: object,
) -> list[Entry] | None:
    with tempfile.TemporaryDirectory() as folder:
        tree = context(Path(folder), without_clashes(files))
        base = MergedTree([make(Path(folder) / "base", without_clashes(below))])
        request = CopyRequest(tuple(sources), destination, **options)  # type: ignore[arg-type]
        try:
            return plan_copy(request, tree, base)
        except BuildInputError:
            return None


@given(st.lists(SOURCE, min_size=1, max_size=3), DESTINATION, TREE, TREE, st.booleans())
@settings(max_examples=150)
def test_layers_are_well_formed(
    sources: list[str], destination: str, files: dict[str, str], below: dict[str, str], link: bool
) -> None:
    entries = plan(sources, destination, files, below, link=link)
    if entries is None:
        return
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths)
    kinds = {entry.path: entry.kind for entry in entries}
    for position, path in enumerate(paths):
        assert path
        assert not {"", ".", ".."} & set(path.split("/"))
        parent = path.rpartition("/")[0]
        assert not parent or (kinds[parent] == "d" and paths.index(parent) < position)


@given(st.lists(SOURCE, min_size=1, max_size=3), DESTINATION, TREE, TREE)
@settings(max_examples=60)
def test_plans_are_deterministic(
    sources: list[str], destination: str, files: dict[str, str], below: dict[str, str]
) -> None:
    first = plan(sources, destination, files, below)
    second = plan(sources, destination, dict(reversed(files.items())), below)
    shape = [
        None if entries is None else [(item.path, item.kind, item.linkname) for item in entries]
        for entries in (first, second)
    ]
    assert shape[0] == shape[1]


@given(DESTINATION, TREE, TREE)
@settings(max_examples=60)
def test_copying_twice_changes_nothing(
    destination: str, files: dict[str, str], below: dict[str, str]
) -> None:
    once = plan(["."], destination, files, below)
    twice = plan([".", "."], destination, files, below)
    if once is not None and twice is not None:
        assert [entry.path for entry in once] == [entry.path for entry in twice]
