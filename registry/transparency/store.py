"""The log as it is kept: entries, the complete nodes of their tree, the signed head: ``log.db``.

Entries are only ever appended, in batches of one transaction that also moves the position in the
index's outbox: an event becomes one entry, whatever dies when. Several processes may append; they
are let in one after the other. Nothing here trusts itself: the head is signed over the root that
the stored nodes give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.sql.connection import Connection
from registry.sql.stores import SqliteStores, Stores
from trust.transparency.merkle import Node, grown, leaf_hash, root_hash

FILE: Final = "log.db"

STEPS: Final = (
    """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_tag ON entries (repository, tag, id);
CREATE TABLE IF NOT EXISTS nodes (
    level INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, "offset")
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    position INTEGER NOT NULL,
    head BLOB NOT NULL,
    key BLOB NOT NULL
);
""",
)


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

    def __init__(self, root: Path, stores: Stores | None = None) -> None:
        """Open it; raises ``IndexFormatError`` when a newer release wrote it."""
        self._store = (stores or SqliteStores()).open(root / FILE, STEPS)

    def close(self) -> None:
        """Release it; no thread may be inside a method."""
        self._store.close()

    def state(self) -> State | None:
        """Where the log is; None before it began."""
        sql = "SELECT size, position, head, key FROM state"
        row = self._store.reader().execute(sql).fetchone()
        return None if row is None else State(*row)

    def begin(self, key: bytes, head: bytes) -> None:
        """Begin an empty log with its sealed key and head, unless another process did."""
        sql = (
            "INSERT INTO state (one, size, position, head, key) VALUES (1, 0, 0, ?, ?)"
            " ON CONFLICT (one) DO NOTHING"
        )
        with self._store.transaction() as run:
            run.execute(sql, (head, key))

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
        with self._store.transaction() as run:
            size, taken = run.execute("SELECT size, position FROM state").fetchone()
            if taken != after:
                return False
            fresh: dict[tuple[int, int], bytes] = {}

            def node(level: int, offset: int) -> bytes:
                return fresh.get((level, offset)) or _node(run, level, offset)

            new: list[Node] = []
            for number, entry in enumerate(entries, start=size):
                added = grown(node, number, leaf_hash(entry.data))
                fresh.update({(level, offset): hashed for level, offset, hashed in added})
                new += added
            run.executemany("INSERT INTO nodes VALUES (?, ?, ?)", new)
            run.executemany(
                "INSERT INTO entries (id, data, repository, tag) VALUES (?, ?, ?, ?)",
                (
                    (number, entry.data, entry.repository, entry.tag)
                    for number, entry in enumerate(entries, start=size)
                ),
            )
            size += len(entries)
            head = sign(size, root_hash(node, size))
            sql = "UPDATE state SET size = ?, position = ?, head = ?"
            run.execute(sql, (size, position, head))
        return True

    def node(self, level: int, offset: int) -> bytes:
        """The hash of a complete node."""
        return _node(self._store.reader(), level, offset)

    def entries(self, start: int, count: int) -> list[bytes]:
        """Up to ``count`` entries from number ``start`` on."""
        sql = "SELECT data FROM entries WHERE id >= ? ORDER BY id LIMIT ?"
        return [data for (data,) in self._store.reader().execute(sql, (start, count))]

    def latest(self, repository: str, tag: str, *, size: int) -> tuple[int, bytes] | None:
        """The number and bytes of the last entry about a tag within the first ``size`` ones."""
        sql = (
            "SELECT id, data FROM entries WHERE repository = ? AND tag = ? AND id < ?"
            " ORDER BY id DESC LIMIT 1"
        )
        row = self._store.reader().execute(sql, (repository, tag, size)).fetchone()
        return None if row is None else (row[0], row[1])


def _node(run: Connection, level: int, offset: int) -> bytes:
    sql = 'SELECT hash FROM nodes WHERE level = ? AND "offset" = ?'
    hashed: bytes = run.execute(sql, (level, offset)).fetchone()[0]
    return hashed
