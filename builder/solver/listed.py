"""A root filesystem whose topmost layers exist as blobs and in memory, but not as files.

COPY and WORKDIR only ask what is where in the layers below, so nothing has to be unpacked for them:
directories and links of such a layer are made in a scratch directory, which costs little, and its
regular files, which are many, are answered from the list of entries.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.solver.materialise import materialise
from images.layers import entry as kinds
from images.layers.merged import TEXT_LIMIT, MergedTree, Node

if TYPE_CHECKING:
    from images.layers.entry import Entry


class ListedTree(MergedTree):
    """The merged view of ``listings`` (topmost first) over the directories ``lowers``.

    ``scratch`` is an empty directory for the skeletons of the listings.
    """

    def __init__(
        self, listings: Sequence[Sequence[Entry]], lowers: Sequence[Path], scratch: Path
    ) -> None:
        skeletons = [scratch / str(number) for number in range(len(listings))]
        self._files: list[dict[str, dict[str, Entry]]] = []
        for listing, skeleton in zip(listings, skeletons, strict=True):
            skeleton.mkdir()
            made = (entry for entry in listing if entry.kind in (kinds.DIRECTORY, kinds.SYMLINK))
            materialise(made, skeleton)
            files: dict[str, dict[str, Entry]] = {}
            for entry in listing:
                if entry.kind not in (kinds.DIRECTORY, kinds.SYMLINK):
                    files.setdefault(entry.parent, {})[entry.name] = entry
            self._files.append(files)
        super().__init__([*skeletons, *lowers])
        self._ranks = {layer: rank for rank, layer in enumerate(self.lowers)}

    def children(self, path: str) -> list[Node]:
        """As ``MergedTree.children``, with the files that are only listed."""
        found = {os.path.basename(node.path): node for node in super().children(path)}
        prefix = f"{path}/" if path else ""
        for rank in reversed(range(len(self._files))):
            for name, entry in self._files[rank].get(path, {}).items():
                above = found.get(name)
                if above is None or self._ranks[above.layer] >= rank:
                    found[name] = Node(prefix + name, _status(entry), self.lowers[rank])
        return [found[name] for name in sorted(found)]

    def read_text(self, path: str, *, limit: int = TEXT_LIMIT) -> str | None:
        """As ``MergedTree.read_text``; a listed file is read from where it comes from."""
        canonical = self.resolve(path)
        parent, _, name = canonical.rpartition("/")
        for rank, files in enumerate(self._files):
            entry = files.get(parent, {}).get(name)
            if entry is not None and entry.kind == kinds.FILE and entry.size <= limit:
                with entry.open_source() as source:
                    return source.read().decode("utf-8", "surrogateescape")
            if os.path.lexists(f"{self.lowers[rank]}/{canonical}"):
                break
        return super().read_text(path, limit=limit)


def _status(entry: Entry) -> os.stat_result:
    """The status of a regular file that does not exist; only kind, mode, owner and size count."""
    mode = stat.S_IFREG | entry.mode
    return os.stat_result((mode, 0, 0, 1, entry.uid, entry.gid, entry.size, 0, 0, 0))
