"""Connections that give up a silent server: one that is frozen, not dead, would hold them forever.

The kernel of a machine whose server is stopped goes on to acknowledge what is sent, so neither TCP
keep-alive nor ``tcp_user_timeout`` notices (tcp(7)); only a clock of ours does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg

T = TypeVar("T")

_INTERVAL: Final = 0.1
"""Seconds between two looks at the clock."""

_PAUSE_SECONDS: Final = 3.0


class _SilentError(Exception):
    """Nothing came in time."""


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes longer than ``patience`` seconds.

    None waits as long as it takes. What became of the statement is as unknown as behind a broken
    network.
    """

    patience: float | None = None

    def wait(self, gen: Any, interval: float = _INTERVAL, *more: Any, **options: Any) -> Any:
        """See psycopg; raises ``psycopg.OperationalError`` when the server keeps silent."""
        patience = self.patience
        if patience is None:
            return super().wait(gen, interval, *more, **options)
        try:
            return super().wait(_within(gen, patience), interval, *more, **options)
        except _SilentError:
            self.close()
            raise psycopg.OperationalError(
                f"the server did not answer for {patience:g} seconds"
            ) from None


def _within(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The same generator, which is sent nothing (READY_NONE) while the server is silent."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise _SilentError
            wanted = gen.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value


class Pause:
    """Lets nobody connect for a moment after a server kept silent.

    Whoever waits in a queue would otherwise spend the whole time to connect, one after the other.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")

    def connect(self, connect: Callable[[], T]) -> T:
        """Connect, unless that was in vain a moment ago.

        Raises:
            psycopg.Error: there is no connection to be had.
        """
        with self._lock:
            if self._clock() < self._until:
                raise psycopg.OperationalError("the server did not answer a moment ago")
        try:
            return connect()
        except psycopg.errors.ConnectionTimeout:
            with self._lock:
                self._until = self._clock() + _PAUSE_SECONDS
            raise
