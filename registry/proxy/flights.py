"""Single flight: of all who want the same thing at the same time, one goes and the others wait.

Within a process they share a task, which a waiting client's departure does not end. Between the
processes of a folder a lock on one byte of ``proxy.lock`` decides who goes; whoever gets it next
looks first whether the thing is here by now. The kernel frees the locks of a process that dies.
Registries on several machines fetch once each.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LOOK_SECONDS: Final = 0.05
_OFFSET_BITS: Final = 62


class Locks:
    """Locks between the processes that serve one folder; blocks while it is made."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Have the lock of ``key``, as soon as no other process has it."""
        offset = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> (64 - _OFFSET_BITS)
        while not self._take(offset):  # noqa: ASYNC110 -- another process tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, offset)

    def close(self) -> None:
        """Give all locks back; harmless when it is done again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _take(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except BlockingIOError:
            return False
        return True


class Flights:
    """What is under way in this process; used from the event loop only."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def join(self, key: str, go: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of ``go``, or that of an earlier one of the same ``key`` still under way."""
        task = self._tasks.get(key)
        if task is None:
            task = self.start(key, go())
        return await asyncio.shield(task)

    def start(self, key: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` to its end, whoever waits for it."""
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def under_way(self, key: str) -> asyncio.Task[Any]:
        """The task of ``key``, which was started and has not ended."""
        return self._tasks[key]

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        """Call off what is under way, and wait until it is."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _landed(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # whoever still waited has it; nobody else is to be told of it
