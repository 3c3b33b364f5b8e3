"""When cached answers stop being true: a counter per repository, shared by all processes of a
registry.

A cache may answer only while the counter it was filled under is unchanged and even. A writer makes
the counter odd before it commits and even again afterwards, so a process that is killed in between
leaves an odd counter: caches are bypassed, and nothing outlives a delete. The counters live in one
mapped file; names share its slots by hash, which costs a needless refill and never a stale answer.
"""

from __future__ import annotations

import mmap
import os
import zlib
from pathlib import Path
from typing import Final

_SLOTS: Final = 4096
_WIDTH: Final = 8


class Generations:
    """The counters. ``enter`` and ``leave`` are called with the index's write lock held."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Blocks and all: a store to a mapped page without one kills on a full disk (SIGBUS).
            os.posix_fallocate(descriptor, 0, _SLOTS * _WIDTH)
            self._map = mmap.mmap(descriptor, _SLOTS * _WIDTH)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._map).cast("Q")

    def current(self, repository: str) -> int:
        """The counter of ``repository`` now; odd means that nothing may be cached."""
        return self._view[zlib.crc32(repository.encode()) % _SLOTS]

    def enter(self, repository: str) -> None:
        """A write to ``repository`` begins: what is cached is no longer true."""
        slot = zlib.crc32(repository.encode()) % _SLOTS
        self._view[slot] = (self._view[slot] + 1) | 1

    def leave(self, repository: str) -> None:
        """The write is committed or rolled back: what is read from now on may be cached."""
        slot = zlib.crc32(repository.encode()) % _SLOTS
        self._view[slot] = (self._view[slot] | 1) + 1

    def close(self) -> None:
        """Unmap the counters."""
        self._view.release()
        self._map.close()
