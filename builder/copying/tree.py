"""What COPY reads from: one tree of files, whether it is the build context or another stage's root.

Paths are relative to the tree's root, ``/`` between parts; ``..`` stops at the root, and links are
followed inside it. A tree does not change while it is read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from images.layers.merged import MergedTree, entry_of, open_node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from images.layers.entry import Entry
    from images.layers.merged import Node


class SourceTree(Protocol):
    """Files to copy from."""

    def lookup(self, path: str, *, follow: bool = True) -> Node | None:
        """What is at ``path``; ``follow`` says whether a link at the end is followed.

        Raises:
            InputError: more than 40 links, so probably a loop.
        """

    def children(self, path: str) -> Sequence[Node]:
        """What a directory holds, sorted by name; ``path`` is canonical."""

    def entry(self, node: Node, path: str) -> Entry:
        """The entry that reproduces a node at another path."""

    def open(self, node: Node) -> BinaryIO:
        """Open a regular file."""

    def absence(self, path: str) -> tuple[str, str | None]:
        """Why nothing is at ``path``, to follow ``not found``, and what to do about it."""


class StageTree:
    """The root of a stage or image, as its layers show it."""

    def __init__(self, lowers: Sequence[Path | str]) -> None:
        self._tree = MergedTree(lowers)

    def lookup(self, path: str, *, follow: bool = True) -> Node | None:
        """As ``SourceTree.lookup``."""
        return self._tree.lookup(path, follow=follow)

    def children(self, path: str) -> Sequence[Node]:
        """As ``SourceTree.children``."""
        return self._tree.children(path)

    def entry(self, node: Node, path: str) -> Entry:
        """As ``SourceTree.entry``; owners are those of the stage."""
        return entry_of(node, path)

    def open(self, node: Node) -> BinaryIO:
        """As ``SourceTree.open``."""
        return open_node(node)

    def absence(self, path: str) -> tuple[str, str | None]:
        """As ``SourceTree.absence``."""
        near = near_name(self, path)
        return " in the stage or image", f"did you mean /{near}?" if near else None


def near_name(tree: SourceTree, path: str) -> str | None:
    """The path that differs from ``path`` by a slip in the first part that is missing."""
    from dockerfile_grammar.suggest import nearest

    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for index, part in enumerate(parts):
        parent = tree.lookup("/".join(parts[:index]))
        if parent is None or not parent.is_dir:
            return None
        names = {os.path.basename(node.path) for node in tree.children(parent.path)}
        if part not in names:
            found = nearest(part, sorted(names))
            return "/".join([*parts[:index], found, *parts[index + 1 :]]) if found else None
    return None
