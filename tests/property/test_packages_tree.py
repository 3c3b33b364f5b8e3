"""The tree that packages are looked up in is the one that unpacking would give."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from images.layers.entry import Entry
from images.packages.tree import File, FileTree
from tests.property.layers_strategies import trees
from tests.property.test_layers_whiteouts import diff


def paths(tree: FileTree) -> set[str]:
    """Everything that is there, directories with a slash behind."""
    found: set[str] = set()
    stack = [("", tree.lookup("", follow=True))]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, File) or node is None:
            found.add(prefix.rstrip("/"))
            continue
        found.add(prefix)
        stack.extend((f"{prefix}{name}/", below) for name, below in node.items())
    return found - {""}


def expected(entries: list[Entry]) -> set[str]:
    return {f"{entry.path}/" if entry.kind == "d" else entry.path for entry in entries} - {"", "/"}


@given(st.lists(trees(size=10), min_size=1, max_size=4))
@settings(max_examples=100)
def test_layers_end_in_the_last_tree(versions: list[list[Entry]]) -> None:
    tree, before = FileTree(), list[Entry]()
    for number, entries in enumerate(versions):
        tree.apply(diff(before, entries), number)
        before = entries
        assert paths(tree) == expected(entries)
