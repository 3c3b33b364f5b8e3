"""What a tree holds, as entries: the sources of a COPY, or everything below one path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.copying.selection import SourceUnknownError, below, select_sources
from builder.ignore import IgnorePatterns
from images.layers import entry as kinds
from images.layers.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.copying.request import CopyRequest
    from builder.copying.tree import SourceTree
    from images.layers.merged import Node


def selection_entries(request: CopyRequest, tree: SourceTree) -> list[Entry]:
    """What the sources of a COPY hold, for a cache key.

    Paths begin with the number of the match. A file keeps its name; a directory does not, since
    only what it holds is copied, so neither its name nor its metadata counts.

    Raises:
        BuildInputError: a source is missing.
    """
    exclude = IgnorePatterns.of(request.exclude)
    entries: list[Entry] = []
    for number, selected in enumerate(select_sources(request, tree)):
        if not selected.node.is_dir:
            entries.append(tree.entry(selected.node, f"{number}/{selected.name}"))
            continue
        entries.append(Entry(str(number), kinds.DIRECTORY))
        known: set[str] = set()
        for found in below(selected, tree, exclude):
            for node, path in (*found.parents, (found.node, found.path)):
                if path not in known:
                    known.add(path)
                    entries.append(tree.entry(node, f"{number}/{path}"))
    return entries


def tree_entries(path: str, tree: SourceTree) -> list[Entry]:
    """Everything at and below ``path``, named relative to it; what is at ``path`` itself is ``""``.

    Raises:
        BuildInputError: nothing is there.
    """
    node = tree.lookup(path)
    if node is None:
        why, fix = tree.absence(path)
        raise SourceUnknownError(f'"/{path.strip("/")}": not found{why}', fix=fix)
    if not node.is_dir:
        return [tree.entry(node, "")]
    strip = len(node.path) + 1 if node.path else 0
    return [
        tree.entry(node, ""),
        *(tree.entry(child, child.path[strip:]) for child in _walk(node, tree)),
    ]


def _walk(directory: Node, tree: SourceTree) -> Iterator[Node]:
    for node in tree.children(directory.path):
        yield node
        if node.is_dir:
            yield from _walk(node, tree)
