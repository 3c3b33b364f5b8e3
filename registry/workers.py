"""Threads for what would block the event loop: hashing, disks and the index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

_IO_THREADS: Final = 8
_INDEX_THREADS: Final = 2


class Workers:
    """Two pools, so that a slow disk under uploads does not delay look-ups in the index."""

    def __init__(self) -> None:
        self._io = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="registry-io")
        self._index = ThreadPoolExecutor(_INDEX_THREADS, thread_name_prefix="registry-read")

    async def io(self, call: Callable[[], T]) -> T:
        """Run something that touches content."""
        return await _finish(self._io, call)

    async def look_up(self, call: Callable[[], T]) -> T:
        """Run a read of the index."""
        return await _finish(self._index, call)

    def close(self) -> None:
        """Wait for what runs and stop the threads."""
        self._io.shutdown()
        self._index.shutdown()


async def _finish(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """Wait for the thread even when cancelled: it still uses what the caller is about to close."""
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
