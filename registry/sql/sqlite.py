"""The index of one machine: SQLite in WAL mode, a file that threads and processes share.

Reads use one connection per thread. A batch of writes holds SQLite's write lock. Generations and
the journal are files beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from registry import schema
from registry.database import Database, Write
from registry.election import FileOffices
from registry.errors import OutgrownError, StoreBusyError
from registry.gathering import Gathering
from registry.generation import Generations
from registry.journal import Journal
from registry.sql.connection import Connection

_FAILED_COMMITS: Final = "failed_commits"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class SqliteDatabase(Database):
    """The file ``index.db`` of one registry root."""

    writer: sqlite3.Connection
    generations: Generations
    journal: Journal

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.path = root / "index.db"
        self.where = str(self.path)
        self.offices = FileOffices(root)
        self._shared = _lock(root, fcntl.LOCK_SH)
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._connections_lock = threading.Lock()
        self._gathering = Gathering(self._run_batch)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._turn = os.open(root / "writer.lock", flags, 0o600)
        self.writer = self._open()
        schema.migrate(self.writer, where=self.where)
        self.generations = Generations(root / "generations")
        self.journal = Journal(root / "journal")

    def close(self) -> None:
        """See ``Database``."""
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
        """See ``Database``; what it keeps in tables is on disk."""
        connection = self._open()
        # Mapped pages would count as this process's memory; the cache is enough for a scan.
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA temp_store = FILE")
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        schema.prepare(connection)
        with self._connections_lock:
            self._connections.append(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """See ``Database``."""
        with self._connections_lock:
            self._connections.remove(connection)
        connection.close()

    def reader(self) -> sqlite3.Connection:
        """This thread's connection for reads."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
        return connection

    def apply(self, writes: Sequence[Write]) -> None:
        """See ``Database``."""
        self._gathering.apply(writes)

    def _run_batch(self, writes: Sequence[Write]) -> None:
        repositories = {write.repository for write in writes}
        try:
            with self._turn_to_write():
                self._begin(durable=any(write.durable for write in writes))
                for name in repositories:
                    self.generations.enter(name)
                try:
                    self._check_format()
                    self.opens(self._move())
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

    def _check_format(self) -> None:
        """Write nothing behind the back of a newer release that somebody started meanwhile.

        Raises:
            OutgrownError: it brought the index to its format.
        """
        (version,) = self.writer.execute("PRAGMA user_version").fetchone()
        if version != schema.VERSION:
            raise OutgrownError(self.where, version, schema.VERSION)

    def newest_event(self) -> int:
        """See ``Database``."""
        sql = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
        row = self.reader().execute(sql).fetchone()
        return 0 if row is None else int(row[0])

    def damage(self) -> Iterator[str]:
        """See ``Database``."""
        try:
            for (text,) in self.reader().execute("PRAGMA quick_check(10)"):
                if text != "ok":
                    yield text
        except sqlite3.DatabaseError as error:
            yield str(error)

    def crash_mark(self) -> str:
        """Which boot of the machine this is: nothing less than its crash loses a commit."""
        return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""

    def _move(self) -> str | None:
        row = self.writer.execute("SELECT value FROM facts WHERE name = 'move'").fetchone()
        return None if row is None else str(row[0])

    def make_crash_mark(self) -> str:
        """See ``Database``: the kernel made it."""
        return self.crash_mark()

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
