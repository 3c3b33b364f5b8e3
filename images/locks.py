"""Locks between processes and threads by flock(2): they end with their holder, however it ends.

A lock belongs to an open file, so two threads that each open it exclude each other too. Lock files
are never deleted, since a lock on a deleted file excludes nobody.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def flock(path: str | os.PathLike[str], *, exclusive: bool) -> Iterator[None]:
    """Hold the lock at ``path`` for the ``with`` block; waits for it. Makes the file and its
    folder.

    Raises:
        OSError: the file cannot be made.
    """
    import fcntl

    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def hold(path: str | os.PathLike[str]) -> int:
    """Lock ``path`` exclusively until the returned descriptor is closed or the process ends."""
    import fcntl

    fd = _open(path)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether anybody holds ``path`` right now; a file that does not exist is not held."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _open(path: str | os.PathLike[str]) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
        return os.open(path, flags, 0o600)
