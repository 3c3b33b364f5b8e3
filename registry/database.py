"""The database under the index: connections, batched transactions, and what must follow a commit.

Reads use one connection per thread. Writes run only inside ``apply``, which holds SQLite's write
lock for a batch, gives each write its own savepoint, and returns when all of them are on disk. What
a write says to the journal is kept only if the write is.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from registry import schema
from registry.errors import StoreBusyError
from registry.generation import Generations
from registry.journal import Journal

T = TypeVar("T")

NO_REPOSITORY: Final = ""
"""For writes that change no answer a cache could hold: leases, facts, garbage."""

_FAILED_COMMITS: Final = "failed_commits"


@dataclass(slots=True)
class Write:
    """One write on its way into a batch; a ``durable`` one survives a power loss once answered."""

    repository: str
    operation: Callable[[], Any]
    durable: bool = True
    value: Any = None
    error: Exception | None = None
    """Why it did not happen; with ``value`` the outcome, once the batch was applied."""


class Database:
    """The file ``index.db`` of one registry root, shared by its threads and processes."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.path = root / "index.db"
        self._shared = _lock(root, fcntl.LOCK_SH)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        self._write_lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._turn = os.open(root / "writer.lock", flags, 0o600)
        self.writer = self.connect()
        """The connection of write methods; to be used inside ``apply`` alone."""
        schema.migrate(self.writer, where=str(self.path))
        self.generations = Generations(root / "generations")
        self.journal = Journal(root / "journal")

    def close(self) -> None:
        """Close every connection; no thread may be inside a method."""
        with self._connections_lock:
            connections, self._connections = self._connections, []
        for connection in reversed(connections):
            connection.close()
        self.generations.close()
        self.journal.close()
        shared, self._shared = self._shared, -1
        if shared >= 0:
            os.close(shared)
            os.close(self._turn)

    def connect(self) -> sqlite3.Connection:
        """A connection of its own for who needs temporary tables; ``close`` closes it too."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        schema.prepare(connection)
        with self._connections_lock:
            self._connections.append(connection)
        return connection

    def disconnect(self, connection: sqlite3.Connection) -> None:
        """Close a connection that ``connect`` made."""
        with self._connections_lock:
            self._connections.remove(connection)
        connection.close()

    def reader(self) -> sqlite3.Connection:
        """This thread's connection for reads."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.connect()
        return connection

    def apply(self, writes: Sequence[Write]) -> None:
        """Run a batch in one transaction; each write knows its outcome then.

        A write that raises is undone alone. When the commit itself fails, every write of the batch
        gets that error and none of them happened.
        """
        with self._write_lock:
            repositories = {write.repository for write in writes}
            try:
                with self._turn_to_write():
                    self._begin(durable=any(write.durable for write in writes))
                    for name in repositories:
                        self.generations.enter(name)
                    try:
                        for write in writes:
                            self._attempt(write)
                        self.journal.flush(self._fact)
                        self._commit()
                    finally:
                        self.journal.forget(0)
                        if self.writer.in_transaction:
                            self.writer.execute("ROLLBACK")
                        for name in repositories:
                            self.generations.leave(name)
            except Exception as error:  # noqa: BLE001 -- handed to every waiting caller
                for write in writes:
                    write.value, write.error = None, error

    def write(self, repository: str, operation: Callable[[], T], *, durable: bool = True) -> T:
        """Run one write in a transaction of its own and wait for it."""
        write = Write(repository, operation, durable=durable)
        self.apply([write])
        if write.error is not None:
            raise write.error
        result: T = write.value
        return result

    def fact(self, name: str) -> Any:
        """What is remembered under ``name``; None for nothing."""
        return _value(self.reader(), name)

    def set_fact(self, name: str, value: Any) -> None:
        """Remember a JSON value; None forgets it. Write."""
        if value is None:
            self.writer.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            self.writer.execute(
                "INSERT INTO facts (name, value) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (name, orjson.dumps(value).decode()),
            )

    def _fact(self, name: str) -> Any:
        return _value(self.writer, name)

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Queue among processes in the kernel: SQLite's own wait sleeps, and starves some writers.

        SQLite's lock still decides; this one only orders who asks for it (flock(2)).
        """
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _begin(self, *, durable: bool) -> None:
        # A lost upload session costs the client a retry, so it need not wait for the disk.
        self.writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.writer.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        """Commit; what cannot be made durable does not happen after a restart either.

        After a failed fsync(2) the transaction lies in the log, complete, and whoever opens the
        database next would find it there. So something harmless is written over its beginning.
        """
        try:
            self.writer.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                self.writer.execute("PRAGMA synchronous = OFF")
                self.writer.execute("BEGIN IMMEDIATE")
                self.set_fact(_FAILED_COMMITS, 1 + (self._fact(_FAILED_COMMITS) or 0))
                self.writer.execute("COMMIT")
            raise

    def _attempt(self, write: Write) -> None:
        said = self.journal.pending
        self.writer.execute("SAVEPOINT one")
        try:
            write.value = write.operation()
        except Exception as error:  # noqa: BLE001 -- handed to the caller that waits for this write
            self.writer.execute("ROLLBACK TO one")
            self.journal.forget(said)
            write.error = error
        self.writer.execute("RELEASE one")


@contextmanager
def locked_for_rebuild(root: Path) -> Iterator[None]:
    """Keep everybody from opening the database under ``root``.

    Raises:
        StoreBusyError: somebody has it open.
    """
    descriptor = _lock(root, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(root: Path, kind: int) -> int:
    """Lock the store until the descriptor is closed or the process ends."""
    descriptor = os.open(root / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreBusyError(
            "the store is in use" if kind == fcntl.LOCK_EX else "the index is being rebuilt",
            where=str(root),
            fix="stop the server, or wait for the other command to end",
        ) from error
    return descriptor


def _value(connection: sqlite3.Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else orjson.loads(row[0])
