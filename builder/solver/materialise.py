"""Entries written out as a fresh overlay upper directory, for a step that stands on them at once.

Only directories that this module has made itself are written into, so no symbolic link among the
entries can lead anywhere else. The directory must be empty and belong to this build alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError
from images.layers import entry as kinds

if TYPE_CHECKING:
    from pathlib import Path

    from images.layers.entry import Entry

READ_SIZE: Final = 1 << 20
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICES: Final = {kinds.CHARACTER: 0o020000, kinds.BLOCK: 0o060000, kinds.FIFO: 0o010000}


def materialise(entries: Iterable[Entry], directory: Path) -> None:
    """Write ``entries``, which come sorted with every parent, into ``directory``.

    Raises:
        BuildInputError: an entry's parent is not a directory among the entries, or a file changed
            its size meanwhile.
        OSError: no space, no permission.
    """
    writer = _Writer(os.fspath(directory))
    try:
        writer.write(entries)
    finally:
        writer.close()


def written(entries: Iterable[Entry], directory: Path) -> Iterator[Entry]:
    """The entries of what ``materialise`` wrote, their content taken from ``directory``."""
    root = os.fspath(directory)
    for entry in entries:
        if entry.kind == kinds.FILE and not isinstance(entry.source, bytes):
            yield entry.read_from(f"{root}/{entry.path}")
        else:
            yield entry


class _Writer:
    def __init__(self, root: str) -> None:
        self._root = root
        self._made = {""}
        self._files: set[str] = set()
        self._owner = (os.geteuid(), os.getegid())
        self._parent: str | None = None
        self._parent_fd = -1

    def close(self) -> None:
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
            self._parent_fd = -1

    def write(self, entries: Iterable[Entry]) -> None:
        directories: list[Entry] = []
        for entry in entries:
            parent, _, name = entry.path.rpartition("/")
            if parent != self._parent:
                self._enter(parent, entry)
            if entry.kind == kinds.FILE:
                self._file(entry, name)
            elif entry.kind == kinds.DIRECTORY:
                os.mkdir(name, 0o700, dir_fd=self._parent_fd)
                self._made.add(entry.path)
                directories.append(entry)
            else:
                self._other(entry)
        # Times and modes of directories come last: making entries inside would change them.
        for entry in reversed(directories):
            self._attributes(entry, f"{self._root}/{entry.path}")

    def _enter(self, parent: str, entry: Entry) -> None:
        """Hold a descriptor of the directory that the next entries go into."""
        if parent not in self._made:
            raise BuildInputError(f"/{entry.path} is not inside a directory of this layer")
        self.close()
        self._parent_fd = os.open(f"{self._root}/{parent}", _DIRECTORY)
        self._parent = parent

    def _file(self, entry: Entry, name: str) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=self._parent_fd)
        try:
            length = _copy(entry, fd)
            if length != entry.size:
                raise BuildInputError(
                    f"/{entry.path} changed while it was read",
                    fix="build again when nothing writes to the sources",
                )
            if (entry.uid, entry.gid) != self._owner:
                os.fchown(fd, entry.uid, entry.gid)
            # After the owner, since a change of owner takes setuid away.
            os.fchmod(fd, entry.mode)
            for name, value in entry.xattrs.items():
                os.setxattr(fd, name, value)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)
        self._files.add(entry.path)

    def _other(self, entry: Entry) -> None:
        path = f"{self._root}/{entry.path}"
        if entry.kind == kinds.HARDLINK:
            if entry.linkname not in self._files:
                raise BuildInputError(f"/{entry.path} is a hard link to something else's file")
            os.link(f"{self._root}/{entry.linkname}", path, follow_symlinks=False)
            self._files.add(entry.path)
            return
        if entry.kind == kinds.SYMLINK:
            os.symlink(entry.linkname, path)
        else:
            device = os.makedev(entry.major, entry.minor)
            os.mknod(path, _DEVICES[entry.kind] | 0o600, device)
        self._attributes(entry, path)

    def _attributes(self, entry: Entry, path: str) -> None:
        if (entry.uid, entry.gid) != self._owner:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != kinds.SYMLINK:
            os.chmod(path, entry.mode)
        for name, value in entry.xattrs.items():
            os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def _copy(entry: Entry, target: int) -> int:
    """Copy an entry's content to an open file; returns the number of bytes."""
    if isinstance(entry.source, bytes):
        return _write(target, entry.source)
    length = 0
    if isinstance(entry.source, str):
        source = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # One byte more than there should be, so that a file that grew is noticed.
            wanted = min(READ_SIZE, entry.size + 1)
            while piece := os.read(source, wanted):
                length += _write(target, piece)
                if length == entry.size and len(piece) < wanted:
                    break
        finally:
            os.close(source)
        return length
    with entry.open_source() as stream:
        while chunk := stream.read(READ_SIZE):
            length += _write(target, chunk)
    return length


def _write(fd: int, data: bytes) -> int:
    done = os.write(fd, data) if data else 0
    rest = memoryview(data)[done:]
    while rest:
        rest = rest[os.write(fd, rest) :]
    return len(data)
