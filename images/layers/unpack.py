"""A layer into a directory that overlayfs can mount, and never anywhere else.

Every path is resolved by openat2(2) with RESOLVE_IN_ROOT below a descriptor of the target, so that
symbolic links and ``..`` inside an archive cannot lead out, whatever their order; the last part of
a path is never followed. Nothing is read from or executed in the target. What an archive may
replace it replaces: an entry wins over an earlier one of the same name, and only directories merge.

Whiteouts become what overlayfs knows: a character device 0:0 for ``.wh.name``, the attribute
``trusted.overlay.opaque`` (``user.`` without root) for ``.wh..wh..opq``. A whiteout speaks of the
layers below only (OCI layer.md), so what the same layer puts under that name stays.

Owner first (chown drops setuid and file capabilities), then attributes (which a mode of 000 would
forbid without root), then mode, then time. Directories get theirs last of all, because filling a
directory changes it. Without root, owners stay the caller's and devices are left out.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from images.errors import EnvironmentFault, InvalidArchiveError
from images.layers import entry as kinds
from images.layers.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry
from images.layers.merged import is_whiteout
from images.layers.tar_read import read_tar
from images.syscalls import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from images.trees import remove_tree
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from images.layers.tar_read import Limits, Readable

_RESOLVE: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES: Final = 64
_COPY_SIZE: Final = 1 << 20
_NOT_NAMES: Final = frozenset({"", ".", ".."})
_AUFS_PREFIX: Final = ".wh..wh."
_ARCHIVE_FAULTS: Final = frozenset(
    {
        errno.EEXIST,
        errno.EFBIG,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.EMLINK,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EXDEV,
    }
)


class UnpackResult(Record):
    """What a layer turned out to be.

    Attributes:
        entries: how many the archive had.
        size: bytes of file content written.
        implied: directories that the layer uses and does not describe, parents first; their owner
            and mode come from the layers below. ``""`` is the root. missing_links: (path, target)
            of hard links to files of the layers below, not created. skipped: paths of devices left
            out and of attributes that the file system refused.
    """

    entries: int
    size: int
    implied: tuple[str, ...]
    missing_links: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]


class Content(Protocol):
    """A regular file's bytes as (offset, bytes); what is between pieces is a hole."""

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """The pieces in rising order."""


def unpack(
    stream: Readable,
    target: Path | str,
    *,
    limits: Limits | None = None,
    moves: Sequence[tuple[str, str]] = (),
    check: Callable[[Entry], None] | None = None,
) -> UnpackResult:
    """Unpack an uncompressed tar stream into ``target``, an existing directory.

    ``moves`` are pairs of directories: what the archive has in the first is put into the second.
    ``check`` sees each entry first and may raise.

    Stops at the end of the archive; what the stream has after it is left to the caller. On an error
    the target is left as it is, half filled, inside its root.

    Raises:
        InvalidArchiveError: malformed or hostile.
        SizeLimitError: more than ``limits`` allow.
        EnvironmentFault: the disk is full, or the file system cannot hold this layer.
    """
    items: Iterator[tuple[Entry, Content]] = read_tar(stream, limits=limits)
    if check is not None:
        items = _checked(items, check)
    return _unpack(((_moved(e, moves), c) for e, c in items) if moves else items, target)


def unpack_entries(entries: Iterable[Entry], target: Path | str) -> UnpackResult:
    """Make real the entries of a COPY, a scan or another layer; raises as ``unpack`` does."""
    return _unpack(((entry, _EntryContent(entry)) for entry in entries), target)


def _checked(
    items: Iterator[tuple[Entry, Content]], check: Callable[[Entry], None]
) -> Iterator[tuple[Entry, Content]]:
    for entry, content in items:
        check(entry)
        yield entry, content


def _unpack(items: Iterable[tuple[Entry, Content]], target: Path | str) -> UnpackResult:
    with _Unpacker(target) as unpacker:
        for entry, content in items:
            try:
                unpacker.add(entry, content)
            except OSError as error:
                raise _explained(entry, error) from error
        return unpacker.finish()


class _EntryContent:
    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        offset = 0
        with self._entry.open_source() as file:
            while offset < self._entry.size:
                data = file.read(min(_COPY_SIZE, self._entry.size - offset))
                if not data:
                    raise InvalidArchiveError(
                        "content is shorter than its entry says; it changed while it was read",
                        where=self._entry.path,
                    )
                yield offset, memoryview(data)
                offset += len(data)


class _Unpacker:
    def __init__(self, target: Path | str) -> None:
        self._root = os.open(target, _DIRECTORY)
        self._parents: dict[str, int] = {}
        self._directories: dict[str, Entry] = {}
        self._implied: dict[str, None] = {}
        self._opaque: dict[str, None] = {}
        self._missing_links: list[tuple[str, str]] = []
        self._skipped: list[str] = []
        self._entries = 0
        self._size = 0
        self._privileged = os.geteuid() == 0
        self._opaque_xattr = "trusted.overlay.opaque" if self._privileged else "user.overlay.opaque"

    def __enter__(self) -> _Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_parents()
        os.close(self._root)

    def add(self, entry: Entry, content: Content) -> None:
        """Bring one entry into being."""
        self._entries += 1
        if not entry.path:
            self._directories[""] = entry
            return
        directory, _, name = entry.path.rpartition("/")
        if not _NOT_NAMES.isdisjoint(entry.path.split("/")):
            raise InvalidArchiveError("path is not a plain relative one", where=entry.path)
        if WHITEOUT_PREFIX in entry.path:
            _check_whiteout(entry)
            if name.startswith(WHITEOUT_PREFIX):
                self._whiteout(directory, name)
                return
        parent = self._parent(directory)
        match entry.kind:
            case kinds.FILE:
                self._file(parent, name, entry, content)
            case kinds.DIRECTORY:
                self._directory(parent, name, entry)
            case kinds.SYMLINK:
                self._symlink(parent, name, entry)
            case kinds.HARDLINK:
                self._hardlink(parent, name, entry)
            case _:
                self._special(parent, name, entry)

    def finish(self) -> UnpackResult:
        """Give the directories their owners, modes and times, deepest first."""
        for path in self._opaque:
            with self._opened(path) as fd:
                if fd is not None:
                    os.setxattr(fd, self._opaque_xattr, b"y")
        if "" not in self._directories:
            self._implied[""] = None
        for path in sorted(self._directories, key=_depth, reverse=True):
            with self._opened(path) as fd:
                if fd is not None:
                    self._apply(fd, self._directories[path])
        return UnpackResult(
            self._entries,
            self._size,
            tuple(sorted(self._implied)),
            tuple(self._missing_links),
            tuple(self._skipped),
        )

    def _file(self, parent: int, name: str, entry: Entry, content: Content) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, name, entry.path)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                self._write(fd, entry, content)
            self._apply(fd, entry)
        finally:
            os.close(fd)

    def _write(self, fd: int, entry: Entry, content: Content) -> None:
        position = 0
        for offset, piece in content.pieces():
            if offset != position:
                os.lseek(fd, offset, os.SEEK_SET)
            view = piece
            while view:
                view = view[os.write(fd, view) :]
            position = offset + len(piece)
            self._size += len(piece)
        if position < entry.size:
            os.ftruncate(fd, entry.size)

    def _directory(self, parent: int, name: str, entry: Entry) -> None:
        path = entry.path
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._remove(parent, name, path)
                os.mkdir(name, 0o700, dir_fd=parent)
                if is_whiteout(status):
                    self._opaque[path] = None
        self._directories[path] = entry
        self._implied.pop(path, None)

    def _symlink(self, parent: int, name: str, entry: Entry) -> None:
        try:
            os.symlink(entry.linkname, name, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, name, entry.path)
            os.symlink(entry.linkname, name, dir_fd=parent)
        self._apply_by_name(parent, name, entry)

    def _special(self, parent: int, name: str, entry: Entry) -> None:
        if entry.kind == kinds.FIFO:
            kind, device = stat.S_IFIFO, 0
        else:
            kind = stat.S_IFCHR if entry.kind == kinds.CHARACTER else stat.S_IFBLK
            device = os.makedev(entry.major, entry.minor)
            if kind == stat.S_IFCHR and device == 0:
                raise InvalidArchiveError(
                    "a character device 0:0 would hide a file of the layers below",
                    where=entry.path,
                    fix="delete files with a .wh. entry, so that every reader sees it",
                )
            if not self._privileged:
                self._skipped.append(entry.path)
                return
        try:
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, name, entry.path)
            os.mknod(name, kind | 0o600, device, dir_fd=parent)
        self._apply_by_name(parent, name, entry)

    def _hardlink(self, parent: int, name: str, entry: Entry) -> None:
        directory, _, target = entry.linkname.rpartition("/")
        if entry.linkname in ("", entry.path):
            raise InvalidArchiveError("hard link to itself", where=entry.path)
        try:
            source = self._cached_parent(directory)
            status = os.stat(target, dir_fd=source, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._missing_links.append((entry.path, entry.linkname))
            return
        if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
            raise InvalidArchiveError(
                f"hard link to /{entry.linkname}, which is not a file", where=entry.path
            )
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            self._remove(parent, name, entry.path)
            source, parent = self._cached_parent(directory), self._parent(entry.parent)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _whiteout(self, directory: str, name: str) -> None:
        parent = self._parent(directory)
        if name == OPAQUE_NAME:
            self._opaque[directory] = None
            return
        if name.startswith(_AUFS_PREFIX):
            return
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            status = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._opaque[f"{directory}/{hidden}".lstrip("/")] = None

    def _parent(self, path: str) -> int:
        """A descriptor of the directory ``path``, which is made if need be; valid until
        ``_remove``.
        """
        if not path:
            return self._root
        try:
            return self._cached_parent(path)
        except (FileNotFoundError, NotADirectoryError):
            self._make_parents(path)
            return self._cached_parent(path)

    def _cached_parent(self, path: str) -> int:
        if not path:
            return self._root
        fd = self._parents.get(path)
        if fd is None:
            fd = openat2(self._root, path, _DIRECTORY, _RESOLVE)
            if len(self._parents) >= _OPEN_DIRECTORIES:
                self._forget_parents()
            self._parents[path] = fd
        return fd

    def _make_parents(self, path: str) -> None:
        done = ""
        for part in path.split("/"):
            parent = self._cached_parent(done)
            done = f"{done}/{part}".lstrip("/")
            try:
                os.mkdir(part, 0o700, dir_fd=parent)
            except FileExistsError:
                status = os.stat(part, dir_fd=parent, follow_symlinks=False)
                if not is_whiteout(status):
                    continue
                os.unlink(part, dir_fd=parent)
                os.mkdir(part, 0o700, dir_fd=parent)
                self._opaque[done] = None
            self._implied[done] = None
            self._directories[done] = Entry(done, kinds.DIRECTORY, 0o755)

    def _forget_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def _remove(self, parent: int, name: str, path: str) -> None:
        """Clear the way for a later entry of the same name."""
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            remove_tree(name, dir_fd=parent)
            below = f"{path}/"
            for record in (self._directories, self._implied, self._opaque):
                for key in [k for k in record if k == path or k.startswith(below)]:
                    del record[key]
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            # Paths through it lead elsewhere now; ``parent`` itself must stay open for the caller.
            for key in [k for k, fd in self._parents.items() if fd != parent]:
                os.close(self._parents.pop(key))

    @contextmanager
    def _opened(self, path: str) -> Iterator[int | None]:
        """A descriptor of a directory; None when another object took its place since."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            fd = openat2(self._root, path or ".", flags, _RESOLVE)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def _apply(self, fd: int, entry: Entry) -> None:
        if self._privileged:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def _apply_by_name(self, parent: int, name: str, entry: Entry) -> None:
        if self._privileged:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.xattrs:
            self._set_xattrs(f"/proc/self/fd/{parent}/{name}", entry)
        if entry.kind != kinds.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _set_xattrs(self, target: int | str, entry: Entry) -> None:
        for name, value in entry.xattrs.items():
            try:
                os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                    raise
                self._skipped.append(f"{entry.path} ({name})")


def _moved(entry: Entry, moves: Sequence[tuple[str, str]]) -> Entry:
    for old, new in moves:
        if entry.path.startswith(f"{old}/"):
            entry = entry._replace(path=new + entry.path[len(old) :])
        if entry.kind == kinds.HARDLINK and entry.linkname.startswith(f"{old}/"):
            entry = entry._replace(linkname=new + entry.linkname[len(old) :])
    return entry


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


def _check_whiteout(entry: Entry) -> None:
    """Refuse names that could be taken for a whiteout of something else than a plain name."""
    *parents, name = entry.path.split("/")
    hidden = name.removeprefix(WHITEOUT_PREFIX)
    if any(part.startswith(WHITEOUT_PREFIX) for part in parents):
        raise InvalidArchiveError("a whiteout cannot hold files", where=entry.path)
    if name != hidden and hidden in ("", ".", ".."):
        raise InvalidArchiveError("whiteout of no name", where=entry.path)


def _explained(entry: Entry, error: OSError) -> InvalidArchiveError | EnvironmentFault:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault(
            "no space left on device",
            where=f"/{entry.path}",
            fix="free some space, for example with `lading system prune`, and try again",
        )
    if error.errno in _ARCHIVE_FAULTS:
        return InvalidArchiveError(f"cannot be unpacked: {error.strerror}", where=f"/{entry.path}")
    return EnvironmentFault(f"cannot be unpacked: {error.strerror}", where=f"/{entry.path}")
