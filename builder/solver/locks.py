"""One step, one execution: a lock file per cache key, shared by all builds on a store.

flock(2) vanishes with its process, so a killed build blocks nobody. A lock file is removed by its
holder; whoever opened it before that notices that it has no name any more and starts over.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildCancelledError

if TYPE_CHECKING:
    from builder.runner import Cancellation

POLL_SECONDS = 0.02


class KeyLock:
    """A held lock; ``waited`` says whether somebody else had it first."""

    def __init__(self, path: Path, fd: int, *, waited: bool) -> None:
        self._path = path
        self._fd = fd
        self.waited = waited

    @classmethod
    def acquire(cls, directory: Path, key: bytes, cancellation: Cancellation) -> KeyLock:
        """Wait for the lock of ``key``.

        Raises:
            BuildCancelledError: the build was cancelled while it waited.
        """
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / key.hex()
        waited = False
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while not _try_lock(fd):
                waited = True
                if cancellation.cancelled:
                    os.close(fd)
                    raise BuildCancelledError("the build was cancelled")
                time.sleep(POLL_SECONDS)
            if os.fstat(fd).st_nlink:
                return cls(path, fd, waited=waited)
            os.close(fd)

    def release(self) -> None:
        """Let the next one in."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
