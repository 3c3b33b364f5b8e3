"""Threads for what would block the event loop: hashing, disks and the index."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from registry.promise import Promise, deliver

T = TypeVar("T")

_IO_THREADS: Final = 8
_INDEX_THREADS: Final = 2

_Job: TypeAlias = tuple[Promise, Callable[[], Any]]


class Workers:
    """Two pools, so that a slow disk under uploads does not delay look-ups in the index."""

    def __init__(self) -> None:
        self._io = _Pool(_IO_THREADS, "registry-io")
        self._index = _Pool(_INDEX_THREADS, "registry-read")

    async def io(self, call: Callable[[], T]) -> T:
        """Run something that touches content; waits for its end even when cancelled."""
        return await self._io.run(call)

    async def look_up(self, call: Callable[[], T]) -> T:
        """Run a read of the index."""
        return await self._index.run(call)

    def close(self) -> None:
        """Wait for what runs and stop the threads."""
        self._io.close()
        self._index.close()


class _Pool:
    """Threads that take calls from one queue; they start with the first call."""

    def __init__(self, size: int, name: str) -> None:
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(size)
        ]
        self._started = False

    async def run(self, call: Callable[[], T]) -> T:
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        promise = Promise()
        self._queue.put((promise, call))
        result: T = await promise.outcome()
        return result

    def close(self) -> None:
        if self._started:
            for _ in self._threads:
                self._queue.put(None)
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            promise, call = job
            value, failure = None, None
            try:
                value = call()
            except BaseException as error:  # noqa: BLE001 -- handed to who waits
                failure = error
            deliver(promise.loop, ((promise, value, failure),))
            # Nothing of a finished call may live on while the thread waits for the next one.
            del job, promise, call, value, failure
