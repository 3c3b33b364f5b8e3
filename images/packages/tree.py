"""The files of an image as layers leave them: names, sizes, and which layer brought each.

No bytes and no modes; a tree of dictionaries, so a whiteout costs as much as the path is deep.
Paths may lead through symbolic links, as package databases written before ``/usr`` was merged do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from images.layers import entry as kinds

if TYPE_CHECKING:
    from images.layers.entry import Entry

LINKS: Final = 40
"""Symbolic links followed for one path, as the kernel does."""


class File:
    """Something that is no directory. ``size`` in bytes, ``layer`` counts from 0."""

    __slots__ = ("layer", "size", "target")

    def __init__(self, size: int, layer: int, target: str | None = None) -> None:
        self.size = size
        self.layer = layer
        self.target = target
        """The text of a symbolic link."""


Folder: TypeAlias = "dict[str, Folder | File]"


class FileTree:
    """All layers so far."""

    def __init__(self) -> None:
        self._root: Folder = {}

    def apply(self, entries: Sequence[Entry], layer: int) -> None:
        """Put a layer on top: first what it hides of those below, then what it brings."""
        for item in entries:
            if item.name == kinds.OPAQUE_NAME:
                self.clear(item.parent)
            elif item.is_whiteout:
                name = item.name.removeprefix(kinds.WHITEOUT_PREFIX)
                self.remove(f"{item.parent}/{name}" if item.parent else name)
        for item in entries:
            if item.path and not item.is_whiteout:
                self.put(item, layer)

    def remove(self, path: str) -> None:
        """Remove ``path`` with all below it; nothing if it is not there."""
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if folder is not None:
            folder.pop(name, None)

    def clear(self, path: str) -> None:
        """Remove all below the directory ``path``."""
        folder = self._folder(path)
        if folder is not None:
            folder.clear()

    def put(self, item: Entry, layer: int) -> None:
        """Add what a layer brings; a whiteout is not such a thing.

        A hard link is the file it names, and has no bytes of its own.
        """
        parts = self._real(item.parent)
        folder = self._root
        for part in parts:
            below = folder.get(part)
            if not isinstance(below, dict):
                below = folder[part] = {}
            folder = below
        name = item.path.rpartition("/")[2]
        if item.kind == kinds.DIRECTORY:
            if name and not isinstance(folder.get(name), dict):
                folder[name] = {}
            return
        if item.kind == kinds.HARDLINK:
            linked = self.lookup(item.linkname)
            folder[name] = linked if isinstance(linked, File) else File(0, layer)
            return
        target = item.linkname if item.kind == kinds.SYMLINK else None
        folder[name] = File(item.size, layer, target)

    def lookup(self, path: str, *, follow: bool = False) -> Folder | File | None:
        """What is at ``path``; links on the way are followed, a last one only with ``follow``."""
        parts = self._real(path) if follow else self._real(path.rpartition("/")[0])
        node: Folder | File | None = self._root
        names = parts if follow else [*parts, path.rpartition("/")[2]]
        for name in names:
            node = node.get(name) if isinstance(node, dict) and name else node
            if node is None:
                return None
        return node

    def below(self, folder: Folder, *, skip: str) -> Iterator[File]:
        """Every file below a folder, except those in subfolders named ``skip``."""
        stack = [folder]
        while stack:
            for name, node in stack.pop().items():
                if isinstance(node, File):
                    yield node
                elif name != skip:
                    stack.append(node)

    def files(self) -> Iterator[File]:
        """Every file; one with several names several times."""
        return self.below(self._root, skip="")

    def _folder(self, path: str) -> Folder | None:
        node = self.lookup(path, follow=True) if path else self._root
        return node if isinstance(node, dict) else None

    def _real(self, path: str) -> list[str]:
        """The parts of ``path`` with every symbolic link that is there replaced."""
        wanted = [part for part in reversed(path.split("/")) if part]
        # Nearly all paths have no link in them.
        node: Folder | File | None = self._root
        for part in reversed(wanted):
            node = node.get(part) if isinstance(node, dict) else None
            if node is None or isinstance(node, File):
                break
        if not isinstance(node, File) or node.target is None:
            return wanted[::-1]
        return self._followed(wanted)

    def _followed(self, wanted: list[str]) -> list[str]:
        """``wanted`` is a stack, the first part on top."""
        real: list[str] = []
        trail: list[Folder] = [self._root]
        links = 0
        while wanted:
            part = wanted.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if real:
                    real.pop()
                    trail.pop()
                continue
            node = trail[-1].get(part)
            if isinstance(node, File) and node.target is not None and links < LINKS:
                links += 1
                if node.target.startswith("/"):
                    real, trail = [], [self._root]
                wanted.extend(reversed(node.target.split("/")))
                continue
            real.append(part)
            trail.append(node if isinstance(node, dict) else {})
        return real
