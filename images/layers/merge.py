"""Several layers as one: the entries that do to what is below what the layers did one by one.

OCI image specification, layer.md. Layers are applied in turn, lowest first, to a table of paths:

* a whiteout removes what the layers before it brought, and stays, because it also speaks of what is
  below all of them;
* a directory that takes the place of something else hides what that something hid, so it becomes
  opaque;
* hard links are names of one file, whichever of them was written first, so a name that survives
  keeps its bytes when the others go.

Whiteouts of one layer concern the layers before it alone, wherever in the archive they stand. What
files hold is set aside in a scratch file, since a stream gives it only once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from images.errors import InvalidArchiveError
from images.layers import entry as kinds
from images.layers.compress import BLOCK
from images.layers.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, opaque, whiteout

if TYPE_CHECKING:
    from typing import Any

_SMALL: Final = 4096
"""Bytes up to which a file is kept in memory, where an entry takes about as much."""


class _Inode:
    """What the names of one file have in common."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


class LayerMerge:
    """Layers that were applied so far; ``entries`` is their sum.

    ``scratch`` describes an empty file, open for reading and writing as long as the entries live.
    """

    def __init__(self, scratch: int) -> None:
        self._scratch = scratch
        self._end = 0
        self._nodes: dict[str, Entry | _Inode] = {}
        self._children: dict[str, set[str]] = {"": set()}
        """Of each directory that is known, described or not: its names."""
        self._whiteouts: set[str] = set()
        self._opaque: set[str] = set()

    def apply(self, layer: Iterable[Entry]) -> None:
        """Put a layer on top; each entry's content is read before the next entry is asked for.

        Raises:
            InvalidArchiveError: a file of a lower layer is used as a directory.
        """
        kept: list[Entry] = []
        for entry in layer:
            if entry.name == OPAQUE_NAME:
                self._make_opaque(entry.parent)
            elif entry.is_whiteout:
                self._hide(entry)
            else:
                kept.append(self._kept(entry))
        for entry in kept:
            self._place(entry)

    def entries(self, *, flat: bool = False) -> Iterator[Entry]:
        """All that is left, sorted, a directory before what it holds; hard links after their file.

        ``flat`` leaves out what only speaks of layers below: there are none.
        """
        written: dict[_Inode, str] = {}
        for path in self._sorted(flat=flat):
            name = path.rpartition("/")[2]
            if name == OPAQUE_NAME:
                yield opaque(path.rpartition("/")[0])
            elif path in self._whiteouts:
                yield whiteout(path)
            else:
                node = self._nodes[path]
                if isinstance(node, Entry):
                    yield node
                elif node in written:
                    yield node.entry._replace(
                        path=path, kind=kinds.HARDLINK, size=0, linkname=written[node], source=None
                    )
                else:
                    written[node] = path
                    yield node.entry._replace(path=path)

    def _sorted(self, *, flat: bool) -> list[str]:
        paths = list(self._nodes)
        if not flat:
            paths += self._whiteouts
            paths += [f"{path}/{OPAQUE_NAME}".lstrip("/") for path in self._opaque]
        return sorted(paths, key=_parts)

    def _kept(self, entry: Entry) -> Entry:
        """The entry with its content where it can be read again."""
        if entry.kind != kinds.FILE or not entry.size or isinstance(entry.source, bytes | str):
            return entry
        with entry.open_source() as file:
            if entry.size <= _SMALL:
                data = b"".join(iter(partial(file.read, _SMALL), b""))
                return entry.read_from(data)
            start = self._end
            while piece := file.read(BLOCK):
                self._append(piece)
        return entry.read_from(partial(_Part.open, self._scratch, start, entry.size))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._scratch, view, self._end)
            self._end += written
            view = view[written:]

    def _make_opaque(self, path: str) -> None:
        if path not in self._children:
            self._remove(path)
            self._enter(path)
            self._children[path] = set()
        for name in list(self._children[path]):
            self._remove(f"{path}/{name}".lstrip("/"))
        self._opaque.add(path)

    def _hide(self, entry: Entry) -> None:
        name = entry.name.removeprefix(WHITEOUT_PREFIX)
        if name in ("", ".", "..") or WHITEOUT_PREFIX in f"/{entry.parent}":
            raise InvalidArchiveError("whiteout of no plain name", where=entry.path)
        path = f"{entry.parent}/{name}".lstrip("/")
        self._remove(path)
        self._enter(path)
        self._whiteouts.add(path)

    def _place(self, entry: Entry) -> None:
        path = entry.path
        if entry.kind == kinds.DIRECTORY:
            self._place_directory(entry)
            return
        node = self._inode(entry) if entry.kind in (kinds.FILE, kinds.HARDLINK) else entry
        self._remove(path)
        self._enter(path)
        self._nodes[path] = node

    def _place_directory(self, entry: Entry) -> None:
        path = entry.path
        if path and path not in self._children:
            replaces = path in self._nodes or path in self._whiteouts
            self._remove(path)
            self._enter(path)
            self._children[path] = set()
            if replaces:
                self._opaque.add(path)
        self._nodes[path] = entry

    def _inode(self, entry: Entry) -> Entry | _Inode:
        """The file that a name stands for; a link to a file below all layers stays a link."""
        if entry.kind == kinds.FILE:
            return _Inode(entry)
        target = self._nodes.get(entry.linkname)
        if target is None or entry.linkname == entry.path:
            return entry
        if isinstance(target, Entry) and target.kind == kinds.DIRECTORY:
            raise InvalidArchiveError("hard link to a directory", where=f"/{entry.path}")
        return target if isinstance(target, _Inode) else target._replace(path=entry.path)

    def _enter(self, path: str) -> None:
        """Let the directories above a path know of it."""
        parent, _, name = path.rpartition("/")
        known = self._children.get(parent)
        if known is None:
            self._imply(parent)
            known = self._children[parent]
        known.add(name)

    def _imply(self, path: str) -> None:
        """A directory that a layer uses and does not describe."""
        if path in self._nodes:
            raise InvalidArchiveError(
                "is a directory in one layer and something else below it", where=f"/{path}"
            )
        self._enter(path)
        self._children[path] = set()
        if path in self._whiteouts:
            self._whiteouts.discard(path)
            self._opaque.add(path)

    def _remove(self, path: str) -> None:
        """Forget a path and all below it."""
        parent, _, name = path.rpartition("/")
        siblings = self._children.get(parent)
        if siblings is None or name not in siblings:
            return
        siblings.discard(name)
        stack = [path]
        while stack:
            gone = stack.pop()
            stack.extend(f"{gone}/{child}" for child in self._children.pop(gone, ()))
            self._nodes.pop(gone, None)
            self._whiteouts.discard(gone)
            self._opaque.discard(gone)


class _Part(io.RawIOBase):
    """A part of the scratch file."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._position = start
        self._left = size

    @classmethod
    def open(cls, fd: int, start: int, size: int) -> BinaryIO:
        return cast("BinaryIO", cls(fd, start, size))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)[: self._left]
        got = os.preadv(self._fd, (view,), self._position)
        self._position += got
        self._left -= got
        return got


def _parts(path: str) -> list[str]:
    return path.split("/")
