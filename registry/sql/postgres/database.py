"""The index in PostgreSQL, shared by any number of replicas.

A batch of writes is one transaction that first takes the advisory lock of its schema, so batches of
all replicas come one after the other, as they do with SQLite, and read what the one before them
committed. What becomes of a batch is known or said to be unknown: each leaves its number in the
row of its process, and when the connection breaks at the commit that row tells, on whichever server
answers then. A replica that stands still within a batch loses its session after a minute. One whose
release is older than the schema reads on and writes no more: each batch looks at the format first.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from registry import schema as sqlite_schema
from registry.database import Database, Write
from registry.errors import OutgrownError
from registry.gathering import Gathering
from registry.replicas.locks import LockOffices, Locks, lock_number
from registry.sql.connection import Connection
from registry.sql.errors import DatabaseError, DatabaseLostError, OutcomeUnknownError
from registry.sql.postgres.changes import ChangeBarrier, Slots, slot_of
from registry.sql.postgres.clock import check_clock
from registry.sql.postgres.faults import start_error
from registry.sql.postgres.link import Address, Link
from registry.sql.postgres.migrating import check_server, migrate_index
from registry.sql.postgres.pool import Pool

_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = {};"
    " SELECT pg_advisory_xact_lock({})"
)
_LOOK: Final = (
    "; SELECT (SELECT value FROM facts WHERE name = 'move'), (SELECT version FROM format)"
)
_NOTE: Final = (
    "WITH batch AS (INSERT INTO batches (writer, number, moment) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (writer) DO UPDATE SET number = excluded.number, moment = excluded.moment)"
    " INSERT INTO changes (slot, number) SELECT s, n FROM unnest(CAST(?4 AS bigint[])) s,"
    " (SELECT nextval('change_numbers') AS n) numbers"
    " ON CONFLICT (slot) DO UPDATE SET number = excluded.number"
)
_ASK_SECONDS: Final = 20.0
"""How long to ask what became of a commit, while a server starts or another takes over."""
_KEPT_SECONDS: Final = 7 * 24 * 3600
"""A process that wrote nothing for so long asks no more."""


_UNKNOWN: Final = (
    "the database of the index was lost at a commit; it is not known whether this change happened"
)


class NoJournal:
    """PostgreSQL has a log of its own, and ways to go back to any moment of it."""

    pending = 0

    def say(self, *entry: object) -> None:
        """Nothing is written beside the database."""

    def forget(self, pending: int) -> None:
        """Nothing was said."""


class PostgresDatabase(Database):
    """One schema of a PostgreSQL database."""

    journal: NoJournal

    def __init__(
        self,
        address: Address,
        *,
        connections: int,
        wait: float,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connect, and bring the schema up to date.

        Raises:
            IndexFormatError: a newer release wrote it. RegistryStartError: the server cannot be
            used, or its clock is another. DatabaseError: it cannot be reached, or refuses.
        """
        self._address = address
        self._sleep = sleep
        self._clock = clock
        self.where = address.where
        self.journal = NoJournal()
        self.generations = Slots()
        self.barrier = ChangeBarrier(
            address.connect_to_read, self.generations, patience=address.timeout
        )
        self._locks = Locks(address.connect_plainly, address.schema)
        self.offices = LockOffices(self._locks)
        self._link = self.writer = Link(address.connect_to_write)
        self._readers = Pool(address.connect_to_read, size=connections, wait=wait)
        self._scratch: list[Connection] = []
        self._scratch_lock = threading.Lock()
        self._gathering = Gathering(self._run_batch)
        self._lock_number = lock_number(address.schema, "writes")
        self._name = secrets.token_hex(8)
        self._batch = 0
        self._noted = False
        self._format = sqlite_schema.VERSION
        growing = Link(address.connect)
        try:
            growing.open()
            check_server(growing, self.where)
            check_clock(growing, self.where)
            migrate_index(growing, address.schema, where=self.where)
            self._link.open()
        except DatabaseError as error:
            raise start_error(error, self.where) from error
        finally:
            growing.close()

    def close(self) -> None:
        """See ``Database``; the barrier is closed by who has its event loop."""
        with self._scratch_lock:
            scratch, self._scratch = self._scratch, []
        for connection in (*scratch, self._link, self._readers):
            connection.close()
        self._locks.close()

    def reader(self) -> Connection:
        """See ``Database``; connections are lent for each statement."""
        return self._readers

    def connect(self) -> Connection:
        """See ``Database``."""
        link = Link(self._address.connect)
        link.open()
        with self._scratch_lock:
            self._scratch.append(link)
        return link

    def disconnect(self, connection: Connection) -> None:
        """See ``Database``."""
        with self._scratch_lock:
            self._scratch.remove(connection)
        connection.close()

    def apply(self, writes: Sequence[Write]) -> None:
        """See ``Database``.

        When the connection breaks at the commit and nobody can tell what became of it, every write
        gets ``OutcomeUnknownError``.
        """
        self._gathering.apply(writes)

    def _run_batch(self, writes: Sequence[Write]) -> None:
        try:
            try:
                durable = any(write.durable for write in writes)
                self.opens(self._begin(durable=durable))
                self._run_all(writes)
                self._commit(self._note_of(writes, durable=durable))
            finally:
                if self._link.in_transaction:
                    with suppress(DatabaseError):
                        self._link.script("ROLLBACK")
        except Exception as error:  # noqa: BLE001 -- handed to every waiting caller
            for write in writes:
                write.value, write.error = None, error

    def newest_event(self) -> int:
        """See ``Database``; events that are being written count."""
        sql = "SELECT last_value, is_called FROM events_id_seq"
        value, called = self.reader().execute(sql).fetchone()
        return int(value) if called else 0

    def damage(self) -> Iterator[str]:
        """See ``Database``: page checksums and amcheck are the server's own."""
        yield from ()

    def trouble(self) -> str:
        """See ``Database``."""
        row = self.reader().execute("SELECT version FROM format").fetchone()
        outgrown = row is None or row[0] != self._format
        return "a newer release has taken over the database" if outgrown else ""

    def crash_mark(self) -> str:
        """See ``Database``: a mark in a table that a crash of the server empties."""
        row = self.reader().execute("SELECT mark FROM crash_mark").fetchone()
        return "" if row is None else str(row[0])

    def make_crash_mark(self) -> str:
        """See ``Database``."""
        made = secrets.token_hex(8)
        sql = (
            "INSERT INTO crash_mark (mark) SELECT CAST(?1 AS TEXT)"
            " WHERE NOT EXISTS (SELECT 1 FROM crash_mark)"
        )
        self.writer.execute(sql, (made,))
        return str(self.writer.execute("SELECT mark FROM crash_mark").fetchone()[0])

    def _begin(self, *, durable: bool) -> str | None:
        """Take the lock; a connection that broke while it rested is made anew.

        Returns what the store says of its move, as JSON.

        Raises:
            OutgrownError: a newer release brought the schema to its format meanwhile.
        """
        begin = _BEGIN.format("on" if durable else "off", self._lock_number) + _LOOK
        rested = self._link.usable
        try:
            self._link.open()
            row = self._link.script(begin)
        except DatabaseLostError:
            if not rested:
                raise
            self._link.close()
            self._link.open()
            row = self._link.script(begin)
        move, version = row
        if version != self._format:
            raise OutgrownError(self.where, version, self._format)
        return None if move is None else str(move)

    def _run_all(self, writes: Sequence[Write]) -> None:
        """Do the writes; one that fails is undone alone, with a savepoint where it is not alone."""
        if len(writes) == 1:
            (write,) = writes
            write.value = write.operation()
            return
        self._link.script("SAVEPOINT one")
        for write in writes:
            try:
                write.value = write.operation()
                self._link.script("RELEASE one; SAVEPOINT one")
            except Exception as error:  # noqa: BLE001 -- handed to the caller that waits for it
                self._link.script("ROLLBACK TO one")
                write.value, write.error = None, error

    def _note_of(self, writes: Sequence[Write], *, durable: bool) -> Sequence[object]:
        """What numbers the slots that change, and this batch; nothing if nobody would miss it.

        They are the parameters of ``_NOTE``.
        """
        changed = {slot_of(w.repository) for w in writes if w.repository and w.error is None}
        self._noted = durable or bool(changed)
        if not self._noted:
            return ()
        moment = int(self._clock())
        if not self._batch:
            sql = "DELETE FROM batches WHERE moment < ?"
            self._link.execute(sql, (moment - _KEPT_SECONDS,))
        self._batch += 1
        return self._name, self._batch, moment, sorted(changed)

    def _commit(self, note: Sequence[object]) -> None:
        try:
            self._link.commit(*([(_NOTE, note)] if note else ()))
        except DatabaseLostError as error:
            self._link.close()
            if not self._noted:
                raise OutcomeUnknownError(_UNKNOWN) from error
            if not self._was_committed():
                raise

    def _was_committed(self) -> bool:
        """Whether the last batch is there, although nobody said so.

        Raises:
            OutcomeUnknownError: no server can be asked.
        """
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                self._link.open()
                # Who has the lock now knows that the broken session ended, one way or the other.
                self._link.script(_BEGIN.format("on", self._lock_number))
                sql = "SELECT 1 FROM batches WHERE writer = ? AND number = ?"
                row = self._link.execute(sql, (self._name, self._batch)).fetchone()
                self._link.script("COMMIT")
            except DatabaseError as failure:
                self._link.close()
                if time.monotonic() >= deadline:
                    raise OutcomeUnknownError(_UNKNOWN) from failure
                self._sleep(0.2)
            else:
                return row is not None
