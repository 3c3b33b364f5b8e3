"""Which cached answers are still true, when others write the same index.

Each batch gives the slots of its repositories a new number, under the lock that batches hold to
their commit, so numbers rise in the order of commits. A request that may be answered from memory
first passes the barrier: a query for newer numbers that began after the request came. So a change
that was committed before a request came is known to it. One query is under way at a time and
serves everybody who came before it began: it costs a round trip of time, and work per query, not
per request.

Numbers may begin again after a crash of the server, or at another one: whenever the connection was
lost, nothing that was cached counts any more.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from typing import Final

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from registry.sql.errors import DatabaseLostError
from registry.sql.postgres.faults import fault_of
from registry.sql.postgres.link import Raw

_SLOTS: Final = 4096
_QUERY: Final = b"SELECT slot, number FROM changes WHERE number > $1"
_NAME: Final = b"newer_changes"
_ANSWER_SECONDS: Final = 15.0
"""How long the query may take at most: everybody waits for it."""
_TRIES: Final = 2


def slot_of(repository: str) -> int:
    """Names share slots: a needless refill, never a stale answer."""
    return zlib.crc32(repository.encode()) % _SLOTS


class Slots:
    """What this process knows of changes; used from the event loop."""

    def __init__(self) -> None:
        self._numbers = [0] * _SLOTS

    def current(self, repository: str) -> int:
        """See ``Freshness``: even, since a change is known after its commit."""
        return self._numbers[zlib.crc32(repository.encode()) % _SLOTS]

    def changed(self, slots: Iterable[int]) -> None:
        """What is cached of these is no longer true."""
        for slot in slots:
            self._numbers[slot] += 2

    def all_changed(self) -> None:
        """Nothing that is cached counts."""
        self.changed(range(_SLOTS))


class ChangeBarrier:
    """Lets requests pass once everything committed before they came is known.

    Used from one event loop; libpq is asked there, which sends and reads without waiting. Only
    connecting takes a thread.
    """

    def __init__(
        self, connect: Callable[[], Raw], slots: Slots, *, patience: float = _ANSWER_SECONDS
    ) -> None:
        self._connect = connect
        self._slots = slots
        self._patience = min(patience, _ANSWER_SECONDS)
        self._raw: Raw | None = None
        self._newest = 0
        self._coming: list[asyncio.Future[None]] = []
        self._passing: list[asyncio.Future[None]] = []
        self._connecting: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._failure: psycopg.Error | None = None
        self._descriptor = -1
        self._losses = 0
        self._closed = False

    async def passed(self) -> None:
        """Wait until caches are as new as this request.

        Raises:
            DatabaseError: the database does not answer.
        """
        if self._closed:
            raise DatabaseLostError("the registry stops")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._coming.append(future)
        if not self._passing:
            self._next()
        await future

    async def close(self) -> None:
        """Let nobody pass any more, and close the connection."""
        self._closed = True
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        self._lose(None)
        self._refuse_all(DatabaseLostError("the registry stops"))

    def _next(self) -> None:
        """Begin a query for those who came, if nothing is under way."""
        if self._passing or not self._coming or self._connecting is not None:
            return
        raw = self._raw
        if raw is None:
            self._connecting = asyncio.ensure_future(self._open())
            return
        self._passing, self._coming = self._coming, []
        try:
            raw.pgconn.send_query_prepared(_NAME, [str(self._newest).encode()])
            raw.pgconn.flush()
        except psycopg.Error as error:
            self._lose(error)
            return
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.call_later(self._patience, self._overdue, self._passing)

    async def _open(self) -> None:
        """Connect; nothing that was cached before counts any more."""
        try:
            raw, newest = await asyncio.to_thread(self._prepared)
        except psycopg.Error as error:
            self._refuse_all(fault_of(error))
        else:
            self._raw, self._newest = raw, newest
            self._slots.all_changed()
            self._descriptor = raw.fileno()
            asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        finally:
            self._connecting = None
        self._next()

    def _prepared(self) -> tuple[Raw, int]:
        raw = self._connect()
        try:
            row = raw.execute("SELECT COALESCE(MAX(number), 0) FROM changes").fetchone()
            assert row is not None, "an aggregate has a row"
            result = raw.pgconn.prepare(_NAME, _QUERY)
            if result.status != ExecStatus.COMMAND_OK:
                raise psycopg.OperationalError("the query for changes was refused")
            raw.pgconn.nonblocking = 1
        except BaseException:
            raw.close()
            raise
        return raw, int(row[0])

    def _readable(self) -> None:
        raw = self._raw
        if raw is None:
            return
        connection = raw.pgconn
        try:
            connection.consume_input()
            while not connection.is_busy():
                if not self._passing:
                    return
                if self._took(connection):
                    self._pass()
                    self._next()
        except psycopg.Error as error:
            self._lose(error)

    def _took(self, connection: PGconn) -> bool:
        """Take one result; True when there is none left."""
        result = connection.get_result()
        if result is None:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return True
        if result.status != ExecStatus.TUPLES_OK:
            self._failure = psycopg.OperationalError("the query for changes failed")
            return False
        slots = []
        for row in range(result.ntuples):
            slot, number = result.get_value(row, 0), result.get_value(row, 1)
            assert slot is not None, "columns are NOT NULL"
            assert number is not None, "columns are NOT NULL"
            slots.append(int(slot))
            self._newest = max(self._newest, int(number))
        self._slots.changed(slots)
        return False

    def _pass(self) -> None:
        passing, self._passing = self._passing, []
        self._losses = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        for future in passing:
            if not future.done():
                future.set_result(None)

    def _overdue(self, passing: list[asyncio.Future[None]]) -> None:
        self._deadline = None
        if passing is self._passing:
            self._lose(psycopg.OperationalError("the query for changes is not answered"))

    def _lose(self, error: psycopg.Error | None) -> None:
        """Give the connection up; who waits for its answer is told so, others for the next one."""
        raw, self._raw = self._raw, None
        self._failure = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if raw is not None:
            # By its number: libpq has closed what it found broken.
            asyncio.get_running_loop().remove_reader(self._descriptor)
            raw.close()
        self._slots.all_changed()
        if self._closed or error is None:
            return
        self._losses += 1
        if self._losses > _TRIES:
            self._losses = 0
            self._refuse_all(fault_of(error))
            return
        # A server that was started again has a new connection for them.
        self._coming, self._passing = [*self._passing, *self._coming], []
        self._next()

    def _refuse_all(self, fault: Exception) -> None:
        waiting = [*self._passing, *self._coming]
        self._passing, self._coming = [], []
        for future in waiting:
            if not future.done():
                future.set_exception(type(fault)(str(fault)))
