"""Connections for reads, lent for one statement each, and made when there is demand.

A broken one condemns those that rest, since what ended it mostly ended them as well; the statement,
which only reads, is asked again once on a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from registry.sql.connection import Cursor
from registry.sql.errors import DatabaseBusyError, DatabaseLostError
from registry.sql.postgres.faults import fault_of
from registry.sql.postgres.link import Raw, run


class Pool:
    """Up to ``size`` connections; whoever comes too many waits up to ``wait`` seconds."""

    def __init__(self, connect: Callable[[], Raw], *, size: int, wait: float) -> None:
        self._connect = connect
        self._wait = wait
        self._places = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._resting: list[Raw] = []
        self._closed = False

    in_transaction = False
    """Never: each statement is by itself."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """See ``Connection``."""
        if not self._places.acquire(timeout=self._wait):
            raise DatabaseBusyError("every connection to the database of the index is in use")
        try:
            try:
                return self._run(sql, parameters)
            except DatabaseLostError:
                self._condemn()
                return self._run(sql, parameters)
        finally:
            self._places.release()

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Not for reads."""
        raise NotImplementedError("writes have a connection of their own")

    def close(self) -> None:
        """Close what rests, and each other one when it comes back."""
        self._closed = True
        self._condemn()

    def _run(self, sql: str, parameters: Sequence[Any]) -> Cursor:
        raw = self._take()
        try:
            return run(raw, sql, parameters)
        finally:
            self._give_back(raw)

    def _take(self) -> Raw:
        with self._lock:
            if self._resting:
                return self._resting.pop()
        try:
            return self._connect()
        except psycopg.Error as error:
            raise fault_of(error) from error

    def _give_back(self, raw: Raw) -> None:
        with self._lock:
            if not (raw.closed or self._closed):
                self._resting.append(raw)
                return
        raw.close()

    def _condemn(self) -> None:
        with self._lock:
            condemned, self._resting = self._resting, []
        for raw in condemned:
            raw.close()
