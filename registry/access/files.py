"""Small files that several processes read and people edit: noticed when changed, replaced whole.

A reader keeps the signature of what it read and compares it with one ``stat``; an editor holds a
lock beside the file, writes a new one, makes it durable and renames it into place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from images.durable import sync_folder

_SETTLED_NS: Final = 100_000_000
"""A file changed this recently may change again without a new time stamp."""


Signature = tuple[int, int, int, int]
"""Inode, size, times of modification and of change in nanoseconds: one state of a file."""

_MISSING: Final = (0, 0, 0, 0)


def signature(path: str | Path) -> Signature:
    """The signature of a file or folder as it is now; never raises for a missing one."""
    try:
        found = os.stat(path)
    except OSError:
        return _MISSING
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled(state: Signature, now_ns: int) -> bool:
    """Whether a later state of this file is sure to have another signature."""
    return now_ns - state[2] > _SETTLED_NS


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only editor of ``path``, among all processes; makes its folder (0700)."""
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


def replace(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` in place of ``path``, durably; readers see the old or the new bytes, whole.

    An existing file keeps its owner and mode, a new one belongs to the owner of its folder: what
    root adds is for the registry's own user to read. The caller holds ``locked``.
    """
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


def _give(descriptor: int, like: os.stat_result) -> None:
    """Make ``like``'s owner the file's, where root works for another user."""
    if os.geteuid() == 0 and like.st_uid != 0:
        os.fchown(descriptor, like.st_uid, like.st_gid)
