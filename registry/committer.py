"""One thread that writes the index, several requests to a commit.

SQLite has one writer and each durable commit waits for the disk, so writes that arrive while a
commit is under way share the next one. A caller waits for its own write only, and its 201 is sent
after the commit that holds it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from registry.index import SqliteIndex, Write

T = TypeVar("T")

_BATCH_LIMIT: Final = 128


class Committer:
    """The writer thread of one index."""

    def __init__(self, index: SqliteIndex) -> None:
        self._index = index
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="registry-index", daemon=True)
        self._thread.start()

    async def write(
        self, repository: str, operation: Callable[[], T], *, durable: bool = True
    ) -> T:
        """Run ``operation`` in the next batch; returns when it is committed.

        Raises whatever the operation raises, or what the commit raised.
        """
        write = Write(repository, operation, durable=durable)
        self._queue.put(write)
        result: T = await asyncio.wrap_future(write.result)
        return result

    def close(self) -> None:
        """Finish what is queued and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            write = self._queue.get()
            if write is None:
                return
            batch = [write]
            stopping = self._drain(batch)
            self._index.apply(batch)
            if stopping:
                return

    def _drain(self, batch: list[Write]) -> bool:
        while len(batch) < _BATCH_LIMIT:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return False
            if write is None:
                return True
            batch.append(write)
        return False
