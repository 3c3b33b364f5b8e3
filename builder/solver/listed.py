"""A root filesystem whose topmost layers exist as blobs and in memory, but not as files.

COPY and WORKDIR only ask what is where in the layers below, so nothing has to be unpacked for them:
directories and links of such a layer are made in a scratch directory, which costs little, and its
regular files, which are many, are answered from the list of entries.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.solver.materialise import materialise
from images.layers import entry as kinds
from images.layers.merged import TEXT_LIMIT, MergedTree, Node

if TYPE_CHECKING:
    from images.layers.entry import Entry


_MADE: Final = (kinds.DIRECTORY, kinds.SYMLINK)


class ListedTree(MergedTree):
    """The merged view of ``listings`` (topmost first) over the directories ``lowers``.

    ``scratch`` is an empty directory for the skeleton of the listings, which become one: a tree of
    hundreds of small layers costs what their entries do.
    """

    def __init__(
        self, listings: Sequence[Iterable[Entry]], lowers: Sequence[Path], scratch: Path
    ) -> None:
        entries = _combined(listings)
        made = [entry for entry in entries.values() if entry.kind in _MADE]
        # A path comes before those that it begins.
        materialise(sorted(made, key=lambda entry: entry.path), scratch)
        self._files: dict[str, dict[str, Entry]] = {}
        for entry in entries.values():
            if entry.kind not in _MADE:
                self._files.setdefault(entry.parent, {})[entry.name] = entry
        super().__init__([scratch, *lowers])

    def children(self, path: str) -> list[Node]:
        """As ``MergedTree.children``, with the files that are only listed."""
        found = {os.path.basename(node.path): node for node in super().children(path)}
        prefix = f"{path}/" if path else ""
        for name, entry in self._files.get(path, {}).items():
            found[name] = Node(prefix + name, _status(entry), self.lowers[0])
        return [found[name] for name in sorted(found)]

    def entry_at(self, path: str) -> Entry | None:
        """As ``MergedTree.entry_at``; of a listed file the entry itself."""
        parent, _, name = path.rpartition("/")
        return self._files.get(parent, {}).get(name) or super().entry_at(path)

    def read_text(self, path: str, *, limit: int = TEXT_LIMIT) -> str | None:
        """As ``MergedTree.read_text``; a listed file is read from where it comes from."""
        canonical = self.resolve(path)
        parent, _, name = canonical.rpartition("/")
        entry = self._files.get(parent, {}).get(name)
        if entry is not None and entry.kind == kinds.FILE and entry.size <= limit:
            with entry.open_source() as source:
                return source.read().decode("utf-8", "surrogateescape")
        return super().read_text(path, limit=limit)


def _combined(listings: Sequence[Iterable[Entry]]) -> dict[str, Entry]:
    """What stacked listings, topmost first, show together; none of them has whiteouts."""
    found: dict[str, Entry] = {}
    for listing in reversed(listings):
        for entry in listing:
            known = found.get(entry.path)
            if known is not None and known.kind == kinds.DIRECTORY != entry.kind:
                hidden = f"{entry.path}/"
                for path in [path for path in found if path.startswith(hidden)]:
                    del found[path]
            found[entry.path] = entry
    return found


def _status(entry: Entry) -> os.stat_result:
    """The status of a regular file that does not exist; only kind, mode, owner and size count."""
    mode = stat.S_IFREG | entry.mode
    return os.stat_result((mode, 0, 0, 1, entry.uid, entry.gid, entry.size, 0, 0, 0))
