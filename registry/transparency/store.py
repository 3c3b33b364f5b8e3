"""The log on disk: entries, the complete nodes of their tree, the signed head. ``log.db``, SQLite.

Entries are only ever appended, in batches of one transaction that also moves the position in the
index's outbox: an event becomes one entry, whatever dies when. Several processes may append; SQLite
lets them in one after the other. Nothing here trusts itself: the head is signed over the root that
the stored nodes give.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.errors import RegistryStartError
from trust.transparency.merkle import Node, grown, leaf_hash, root_hash

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_tag ON entries (repository, tag, id);
CREATE TABLE IF NOT EXISTS nodes (
    level INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    position INTEGER NOT NULL,
    head BLOB NOT NULL,
    key BLOB NOT NULL
);
"""

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class State:
    """How far the log is: its entries, the last event it took, its signed head, its sealed key."""

    size: int
    position: int
    head: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One entry to append: its bytes, and where it belongs for look-ups."""

    data: bytes
    repository: str
    tag: str


class LogStore:
    """The log of one registry root. Methods block; they may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self._path = root / "log.db"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        connection = self._connection()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise RegistryStartError(
                f"the transparency log has format {version}, this registry reads up to {FORMAT}",
                where=str(self._path),
                fix="start the newer release that wrote it",
            )
        if version < FORMAT:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {FORMAT}")

    def close(self) -> None:
        """Close every connection; no thread may be inside a method."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def state(self) -> State | None:
        """Where the log is; None before it began."""
        sql = "SELECT size, position, head, key FROM state"
        row = self._connection().execute(sql).fetchone()
        return None if row is None else State(*row)

    def begin(self, key: bytes, head: bytes) -> None:
        """Begin an empty log with its sealed key and head, unless another process did."""
        sql = "INSERT OR IGNORE INTO state (one, size, position, head, key) VALUES (1, 0, 0, ?, ?)"
        self._connection().execute(sql, (head, key))

    def append(
        self,
        entries: Sequence[NewEntry],
        *,
        after: int,
        position: int,
        sign: Callable[[int, bytes], bytes],
    ) -> bool:
        """Append ``entries``, made of the events between ``after`` and ``position``.

        ``sign(size, root)`` gives the new head. False: another process was first, and nothing was
        done.
        """
        with self._transaction() as connection:
            size, taken = connection.execute("SELECT size, position FROM state").fetchone()
            if taken != after:
                return False
            fresh: dict[tuple[int, int], bytes] = {}

            def node(level: int, offset: int) -> bytes:
                return fresh.get((level, offset)) or self.node(level, offset)

            new: list[Node] = []
            for number, entry in enumerate(entries, start=size):
                added = grown(node, number, leaf_hash(entry.data))
                fresh.update({(level, offset): hashed for level, offset, hashed in added})
                new += added
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", new)
            connection.executemany(
                "INSERT INTO entries (id, data, repository, tag) VALUES (?, ?, ?, ?)",
                (
                    (number, entry.data, entry.repository, entry.tag)
                    for number, entry in enumerate(entries, start=size)
                ),
            )
            size += len(entries)
            head = sign(size, root_hash(node, size))
            sql = "UPDATE state SET size = ?, position = ?, head = ?"
            connection.execute(sql, (size, position, head))
        return True

    def node(self, level: int, offset: int) -> bytes:
        """The hash of a complete node."""
        sql = "SELECT hash FROM nodes WHERE level = ? AND offset = ?"
        row = self._connection().execute(sql, (level, offset)).fetchone()
        hashed: bytes = row[0]
        return hashed

    def entries(self, start: int, count: int) -> list[bytes]:
        """Up to ``count`` entries from number ``start`` on."""
        sql = "SELECT data FROM entries WHERE id >= ? ORDER BY id LIMIT ?"
        return [data for (data,) in self._connection().execute(sql, (start, count))]

    def latest(self, repository: str, tag: str, *, size: int) -> tuple[int, bytes] | None:
        """The number and bytes of the last entry about a tag within the first ``size`` ones."""
        sql = (
            "SELECT id, data FROM entries WHERE repository = ? AND tag = ? AND id < ?"
            " ORDER BY id DESC LIMIT 1"
        )
        row = self._connection().execute(sql, (repository, tag, size)).fetchone()
        return None if row is None else (row[0], row[1])

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
