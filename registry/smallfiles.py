"""Small files that several processes read and people edit: noticed when changed, replaced whole.

A reader keeps the signature of what it read and compares it with one ``stat``; an editor holds a
lock beside the file, writes a new one, makes it durable and renames it into place. Where several
replicas share them, they are kept in the database (``SharedFile``), under the same names and with
the same promises.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

from images.durable import sync_folder

_SETTLED_NS: Final = 100_000_000
"""A file changed this recently may change again without a new time stamp."""


Signature = tuple[int, int, int, int]
"""Inode, size, times of modification and of change in nanoseconds: one state of a file."""

_MISSING: Final = (0, 0, 0, 0)


class SharedFile(Protocol):
    """A small file, or a folder of such, that all replicas of a registry have in common.

    Named and read as ``pathlib.Path`` would. Methods block, and raise
    ``registry.sql.errors.DatabaseError`` where a path raises OSError.
    """

    @property
    def name(self) -> str:
        """The last part of its name."""
        ...

    @property
    def stem(self) -> str:
        """That part without its suffix."""
        ...

    @property
    def suffix(self) -> str:
        """What follows the last dot, with the dot."""
        ...

    def __truediv__(self, name: str, /) -> Self:
        """What is called ``name`` in this folder."""
        ...

    def read_bytes(self) -> bytes:
        """The content; raises FileNotFoundError."""
        ...

    def exists(self) -> bool:
        """Whether it is there."""
        ...

    def is_dir(self) -> bool:
        """Whether there is anything in it."""
        ...

    def iterdir(self) -> Iterator[Self]:
        """The files right below this folder."""
        ...

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 -- as pathlib
        """Remove it."""
        ...

    def signature(self) -> Signature:
        """As ``signature`` says; of a folder, one that changes with anything below it."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """As ``locked`` says; what is written inside is there when the block ends, or not."""
        ...

    def replace(self, data: bytes) -> None:
        """As ``replace`` says."""
        ...

    def create(self, data: bytes) -> bytes:
        """As ``create`` says."""
        ...


SmallFile: TypeAlias = Path | SharedFile


def signature(path: str | SmallFile) -> Signature:
    """The signature of a file or folder as it is now; never raises for a missing one.

    That of a shared one blocks on the database.
    """
    if not isinstance(path, str | Path):
        return path.signature()
    try:
        found = os.stat(path)
    except OSError:
        return _MISSING
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled(state: Signature, now_ns: int) -> bool:
    """Whether a later state of this file is sure to have another signature."""
    return now_ns - state[2] > _SETTLED_NS


@contextmanager
def locked(path: SmallFile) -> Iterator[None]:
    """Be the only editor of ``path``, among all processes; makes its folder (0700)."""
    if not isinstance(path, Path):
        with path.locked():
            yield
        return
    make_private(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _give(descriptor, os.stat(path.parent))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Make a folder and those above it, 0700, of the owner of what it is in."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _give(descriptor, os.stat(folder.parent))
        finally:
            os.close(descriptor)


def replace(path: SmallFile, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` in place of ``path``, durably; readers see the old or the new bytes, whole.

    An existing file keeps its owner and mode, a new one belongs to the owner of its folder: what
    root adds is for the registry's own user to read. The caller holds ``locked``.
    """
    if not isinstance(path, Path):
        path.replace(data)
        return
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            known = os.stat(path)
            mode = known.st_mode & 0o777
        except FileNotFoundError:
            known = os.stat(path.parent)
        _give(descriptor, known)
        os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
    sync_folder(path.parent)


def create(path: SmallFile, data: bytes) -> bytes:
    """Put ``data`` there unless something is there already; returns what is there, durably.

    Of several processes that do it at once, one wins. Raises OSError.
    """
    if not isinstance(path, Path):
        return path.create(data)
    stage = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(stage, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where another process was first; its file is the one that counts.
        os.link(stage, path)
    except FileExistsError:
        pass
    finally:
        stage.unlink()
    sync_folder(path.parent)
    return path.read_bytes()


def _give(descriptor: int, like: os.stat_result) -> None:
    """Make ``like``'s owner the file's, where root works for another user."""
    if os.geteuid() == 0 and like.st_uid != 0:
        os.fchown(descriptor, like.st_uid, like.st_gid)
