"""SQLite as the state that processes share: WAL, short transactions, numbered migrations.

One ``Database`` per file and process; threads share it behind a lock, processes wait for each other
up to ``BUSY_TIMEOUT``. A forked child must not use its parent's connection, so it opens its own.

Commits survive kill -9 at once. They survive a power cut when made in
``transaction(durable=True)``, which is for what a user was told (names, images); a lost cache row
costs a rebuild, and an fsync costs more.
"""

from __future__ import annotations

import os
import sqlite3
from _thread import RLock  # all of threading that is needed here
from contextlib import contextmanager

from images.errors import EnvironmentFault, InternalError
from images.locks import flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any, Final, TypeAlias

BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for another process's transaction."""

Row: TypeAlias = "tuple[Any, ...]"

IMAGES_MIGRATIONS: Final = (
    """
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        descriptor TEXT NOT NULL,
        updated REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE images (
        digest TEXT PRIMARY KEY,
        image_id TEXT NOT NULL,
        descriptor TEXT NOT NULL,
        added REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX images_by_id ON images (image_id);
    CREATE TABLE leases (
        id TEXT PRIMARY KEY,
        description TEXT NOT NULL,
        pid INTEGER NOT NULL,
        process TEXT NOT NULL,
        started REAL NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE pins (
        owner TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (owner, digest)
    ) WITHOUT ROWID;
    CREATE TABLE layers (
        diff_id TEXT NOT NULL,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        uncompressed_size INTEGER,
        PRIMARY KEY (diff_id, digest)
    ) WITHOUT ROWID;
    CREATE TABLE cache (
        key BLOB PRIMARY KEY,
        kind TEXT NOT NULL,
        value BLOB NOT NULL,
        digests TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        used REAL NOT NULL,
        size INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX cache_by_kind ON cache (kind, used);
    """,
    """
    CREATE TABLE referrers (
        subject TEXT NOT NULL,
        digest TEXT NOT NULL,
        descriptor TEXT NOT NULL,
        PRIMARY KEY (subject, digest)
    ) WITHOUT ROWID;
    """,
)
"""The image store's schema; step N brings version N-1 to N. Steps are never edited, only added.

``cache`` belongs to the builder; ``digests`` names, separated by blanks, the blobs and layers (by
diff id) a row needs, so that garbage collection keeps them.
"""


class Database:
    """One SQLite file with the tables of one or several components.

    ``migrations`` maps a component's name to its steps, each a script of statements. A database
    made by a newer lading is refused rather than damaged.

    Raises:
        EnvironmentFault: the file cannot be opened, or is newer than this program.
        InternalError: the file is not a database any more.
    """

    def __init__(self, path: str | Path, migrations: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self._migrations = migrations
        self._lock = RLock()
        self._depth = 0
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._open()

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement and return its rows; commits at once outside of ``transaction``."""
        with self._lock, self._explained():
            return self._connected().execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row of a query, or None."""
        rows = self.execute(sql, parameters)
        return rows[0] if rows else None

    def changed(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        with self._lock, self._explained():
            return self._connected().execute(sql, parameters).rowcount

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All statements of this thread in the ``with`` block, or none of them.

        The write lock is taken at the start, so what is read inside stays true until the end.
        Blocks nest; the outermost commits. ``durable`` fsyncs on commit.
        """
        with self._lock, self._explained():
            connection = self._connected()
            if self._depth:
                yield
                return
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

    def integrity_problems(self) -> list[str]:
        """What SQLite's own check finds; empty when the file is sound."""
        try:
            rows = self.execute("PRAGMA integrity_check(20)")
        except InternalError as error:
            return [error.what]
        return [str(row[0]) for row in rows if row[0] != "ok"]

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._pid = os.getpid()
        with self._explained():
            connection = sqlite3.connect(
                self.path, BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = NORMAL")
            self._migrate(connection)
        self._connection = connection
        return connection

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            return self._open()
        return self._connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        wanted = {name: len(steps) for name, steps in self._migrations.items()}
        if self._versions(connection) == wanted:
            return
        # Switching to WAL does not wait for others as transactions do, hence the lock around it.
        with flock(f"{self.path}.lock", exclusive=True):
            self._create(connection)

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema (component TEXT PRIMARY KEY, version INTEGER)"
            )
            for component, have in self._versions(connection).items():
                self._upgrade(connection, component, have)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _versions(self, connection: sqlite3.Connection) -> dict[str, int]:
        found: dict[str, int] = {}
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema'").fetchone():
            found = dict(connection.execute("SELECT component, version FROM schema"))
        return {name: found.get(name, 0) for name in self._migrations}

    def _upgrade(self, connection: sqlite3.Connection, component: str, have: int) -> None:
        steps = self._migrations[component]
        if have > len(steps):
            raise EnvironmentFault(
                f"{component} has schema version {have}, this program knows {len(steps)}",
                where=str(self.path),
                fix="use the lading that wrote this store, or a newer one",
            )
        for step in steps[have:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute("INSERT OR REPLACE INTO schema VALUES (?, ?)", (component, len(steps)))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise EnvironmentFault(
                f"cannot use the database: {error}",
                where=str(self.path),
                fix="check the permissions and the free space of the store",
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise
            raise InternalError(
                f"the database is damaged: {error}",
                where=str(self.path),
                fix="move it aside; names can be pulled again, blobs are not affected",
            ) from error
