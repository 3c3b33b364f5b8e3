"""Small databases of single rooms: a file each with SQLite, a schema each with PostgreSQL.

A room states its tables in steps, the n-th of which brings format n to n + 1; statements and types
are those of ``registry.sql``. What a room does in a transaction nobody else does in its store at
the same time, in whatever process or replica.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from registry.errors import IndexFormatError, OutgrownError
from registry.sql.connection import Connection
from registry.sql.scripts import statements

_BUSY_SECONDS: Final = 30.0


class Store(Protocol):
    """One room's database. Methods block; any thread may call them."""

    where: str
    """Names it in messages."""

    def reader(self) -> Connection:
        """What this thread reads with, each statement by itself."""
        ...

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """Read and write alone; committed when the block ends, undone when it raises.

        Raises:
            OutgrownError: a newer release brought the store to its format meanwhile.
        """
        ...

    def close(self) -> None:
        """Release it; no thread may be inside a method."""
        ...


class Stores(Protocol):
    """Opens the databases of the rooms of one registry."""

    def open(self, path: Path, steps: Sequence[str]) -> Store:
        """The store whose file is ``path``, made when it is missing; its stem is its name.

        Raises:
            IndexFormatError: a newer release wrote it. DATABASE_ERRORS: it cannot be used.
        """
        ...


class SqliteStores:
    """Files, shared by the processes of one machine."""

    def open(self, path: Path, steps: Sequence[str]) -> Store:
        """See ``Stores``."""
        return SqliteStore(path, steps)


class SqliteStore:
    """One file; a connection for each thread, and one for transactions."""

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self._path = path
        self.where = str(path)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._format = 0
        try:
            self._writer = self._connect()
            with self.transaction() as connection:
                self._migrate(connection, steps)
            self._format = len(steps)
        except BaseException:
            self.close()
            raise

    def reader(self) -> sqlite3.Connection:
        """See ``Store``."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """See ``Store``."""
        with self._writing:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if self._format:
                    self._check_format()
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """See ``Store``."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
        )
        with self._lock:
            self._connections.append(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def _check_format(self) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version != self._format:
            raise OutgrownError(self.where, version, self._format)

    def _migrate(self, connection: Connection, steps: Sequence[str]) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        check_version(version, len(steps), self.where)
        for step in steps[version:]:
            for statement in statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def check_version(found: int, known: int, where: str) -> None:
    """Refuse what a newer release wrote; raises ``IndexFormatError``."""
    if found > known:
        raise IndexFormatError(
            f"it has format {found}, this registry reads up to {known}",
            where=where,
            fix="start the newer release that wrote it, or restore a backup from before it",
        )
