"""Which entries of a layer say nothing that the layers below do not say already.

Overlayfs copies a whole file up for a chmod that changes nothing, and a copy of one root over its
like would ship the base image again. An entry is without effect only if all that a layer can hold
of it is equal: times in whole seconds, as tar has them, and every byte of a regular file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from images.layers import entry as kinds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from images.layers.entry import Entry
    from images.layers.merged import MergedTree

_CHUNK: Final = 1 << 20
_SECOND: Final = 1_000_000_000


class Below:
    """What the layers below show; they must not change meanwhile."""

    def __init__(self, tree: MergedTree, *, max_mtime: int | None = None) -> None:
        """``max_mtime`` (nanoseconds) is what times of the layers are brought down to."""
        self._tree = tree
        self._max = max_mtime

    def says(self, entry: Entry) -> bool:
        """Whether ``entry``, of any kind but a hard link, would change nothing.

        Raises:
            OSError: one of the two contents cannot be read.
        """
        found = self._tree.entry_at(entry.path)
        if found is None or self._seconds(found.mtime) != entry.mtime // _SECOND:
            return False
        alike = found._replace(mtime=entry.mtime) == entry
        return alike and (entry.kind != kinds.FILE or _same_bytes(entry, found))

    def _seconds(self, mtime: int) -> int:
        return (mtime if self._max is None else min(mtime, self._max)) // _SECOND


def news(entries: Sequence[Entry], below: Below) -> list[Entry]:
    """The entries, which come sorted, without those that change nothing.

    Directories stay where something in them does, and files with several names altogether.

    Raises:
        OSError: a content cannot be read.
    """
    if any(entry.is_whiteout for entry in entries):
        return list(entries)
    linked = {entry.linkname for entry in entries if entry.kind == kinds.HARDLINK}
    parents: set[str] = set()
    kept = []
    for entry in reversed(entries):
        needed = entry.kind == kinds.HARDLINK or entry.path in linked or entry.path in parents
        if needed or not below.says(entry):
            kept.append(entry)
            parents.add(entry.parent)
    return kept[::-1]


def _same_bytes(new: Entry, old: Entry) -> bool:
    with new.open_source() as one, old.open_source() as other:
        while True:
            piece = _read(one)
            if piece != _read(other):
                return False
            if not piece:
                return True


def _read(file: BinaryIO) -> bytes:
    """The next piece, of the same length from any kind of file."""
    pieces: list[bytes] = []
    left = _CHUNK
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
