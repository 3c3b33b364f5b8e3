"""What an unpacked layer takes from the layers below it.

An archive may use a directory without describing it, and may link to a file that an earlier layer
brought. Unpacking onto a mounted overlay would give such a layer the directory's owner and mode, or
follow the symbolic link that is there, or find the file. These functions do the same in user space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from images.errors import InvalidArchiveError
from images.layers.merged import MergedTree, entry_of
from images.layers.unpack import unpack_entries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from images.layers.entry import Entry
    from images.layers.unpack import UnpackResult


class Below:
    """The layers under the one being unpacked, topmost first."""

    def __init__(self, lowers: Sequence[Path]) -> None:
        self._tree = MergedTree(lowers)

    def moves(self, result: UnpackResult) -> tuple[tuple[str, str], ...]:
        """(directory, real directory) for implied directories that are symbolic links below."""
        found: list[tuple[str, str]] = []
        for path in result.implied:
            node = self._tree.lookup(path, follow=False) if path else None
            if node is not None and node.is_symlink and self._is_directory(path):
                found.append((path, self._tree.resolve(path)))
        return tuple(found)

    def complete(self, result: UnpackResult, target: Path) -> None:
        """Bring implied directories and missing links of ``result`` into ``target``.

        Raises:
            InvalidArchiveError: a hard link to something that no layer has.
        """
        unpack_entries(self._entries(result), target)

    def _is_directory(self, path: str) -> bool:
        node = self._tree.lookup(path)
        return node is not None and node.is_dir

    def _entries(self, result: UnpackResult) -> Iterator[Entry]:
        for path in result.implied:
            node = self._tree.lookup(path, follow=False) if path else None
            if node is not None and node.is_dir:
                yield entry_of(node)
        for path, target in result.missing_links:
            node = self._tree.lookup(target, follow=False)
            if node is None or node.is_dir:
                raise InvalidArchiveError(
                    f"hard link to /{target}, which no layer has", where=f"/{path}"
                )
            yield entry_of(node, path)
