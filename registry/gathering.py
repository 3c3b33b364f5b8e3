"""Writes of several threads in one transaction.

A transaction costs a turn among all processes and a commit. Whoever comes first leads: it takes
what waits, its own and others', and runs it as one batch; what comes meanwhile is the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from registry.database import Write
from registry.sql.errors import DatabaseError

_BATCH_LIMIT: Final = 256


@dataclass(slots=True)
class _Waiting:
    writes: Sequence[Write]
    done: bool = False


class Gathering:
    """The writes that wait in one process for the turn to write. ``run`` runs one batch."""

    def __init__(self, run: Callable[[Sequence[Write]], None]) -> None:
        self._run = run
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def apply(self, writes: Sequence[Write]) -> None:
        """Have these writes run, in order and in one batch; returns when their outcome is known."""
        mine = _Waiting(writes)
        self._waiting.append(mine)
        with self._turn:
            while not mine.done:
                self._lead()

    def _lead(self) -> None:
        taken = [self._waiting.popleft()]
        count = len(taken[0].writes)
        while self._waiting and count + len(self._waiting[0].writes) <= _BATCH_LIMIT:
            taken.append(self._waiting.popleft())
            count += len(taken[-1].writes)
        batch = [write for one in taken for write in one.writes]
        try:
            self._run(batch)
        except BaseException:
            for write in batch:
                write.value, write.error = None, DatabaseError("a write was broken off")
            raise
        finally:
            for one in taken:
                one.done = True
