"""One thread that writes the index, several requests to a commit.

SQLite has one writer and each durable commit waits for the disk, so writes that arrive while a
commit is under way share the next one. A caller waits for its own write only, and its 201 is sent
after the commit that holds it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from registry.index import SqlIndex, Write
from registry.promise import Promise, deliver

T = TypeVar("T")

_BATCH_LIMIT: Final = 128

_Waiting: TypeAlias = tuple[Promise, Write]


class Committer:
    """The writer thread of one index."""

    def __init__(self, index: SqlIndex) -> None:
        self._index = index
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="registry-index", daemon=True)
        self._thread.start()

    async def write(
        self, repository: str, operation: Callable[[], T], *, durable: bool = True
    ) -> T:
        """Run ``operation`` in the next batch; returns when it is committed.

        Raises whatever the operation raises, or what the commit raised.
        """
        promise = Promise()
        self._queue.put((promise, Write(repository, operation, durable=durable)))
        result: T = await promise.outcome()
        return result

    def close(self) -> None:
        """Finish what is queued and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            stopping = self._drain(batch)
            self._index.apply([write for _, write in batch])
            # Whoever waits does so in the one loop of this process.
            deliver(first[0].loop, [(promise, it.value, it.error) for promise, it in batch])
            if stopping:
                return

    def _drain(self, batch: list[_Waiting]) -> bool:
        while len(batch) < _BATCH_LIMIT:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return False
            if waiting is None:
                return True
            batch.append(waiting)
        return False
