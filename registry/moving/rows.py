"""One table made equal to another, in whichever databases they are.

Both are read in the order of their keys, a page at a time, and only what differs is written. So the
first time copies, the next ones bring what changed meanwhile, and nothing need be remembered about
how far the last one came. Memory holds a page of each.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from registry.moving.tables import Table
from registry.sql.connection import Connection

Row: TypeAlias = tuple[Any, ...]

_PAGE: Final = 2000
_BATCH: Final = 500


class Writing(Protocol):
    """Runs something in a transaction of the target."""

    def __call__(self, operation: Callable[[Connection], None], /) -> None:
        """Commit what ``operation`` writes."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """The database that is made equal."""

    reader: Callable[[], Connection]
    write: Writing


@dataclass(slots=True)
class Changes:
    """Rows that were read, written and removed."""

    read: int = 0
    written: int = 0
    removed: int = 0


@dataclass(slots=True)
class _Pending:
    """What is to be written with the next transaction."""

    table: Table
    target: Target
    changes: Changes
    put: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)

    def flush(self, *, least: int = 1) -> None:
        """Write, if there is as much as that."""
        if len(self.put) + len(self.gone) < least:
            return
        self.target.write(self._write)
        self.changes.written += len(self.put)
        self.changes.removed += len(self.gone)
        self.put, self.gone = [], []

    def _write(self, connection: Connection) -> None:
        if self.gone:
            chosen = " AND ".join(f'"{name}" = ?' for name in self.table.key)
            sql = f"DELETE FROM {self.table.name} WHERE {chosen}"
            connection.executemany(sql, self.gone)
        if self.put:
            connection.executemany(put_statement(self.table), self.put)


def equalize(
    table: Table,
    source: Connection,
    target: Target,
    *,
    keep: bool = False,
    where: str = "1 = 1",
    told: Callable[[int], object] = int,
) -> Changes:
    """Make the target's table equal; ``keep`` leaves rows there that the source has not.

    ``where`` chooses rows of both. ``told`` hears how many rows were read, now and then.
    """
    changes = Changes()
    pending = _Pending(table, target, changes)
    there = _rows(table, target.reader(), where)
    head = next(there, None)
    for row in _rows(table, source, where):
        key = row[: table.keys]
        while head is not None and head[: table.keys] < key:
            if not keep:
                pending.gone.append(head[: table.keys])
            head = next(there, None)
        if head is not None and head[: table.keys] == key:
            if head != row:
                pending.put.append(row)
            head = next(there, None)
        else:
            pending.put.append(row)
        changes.read += 1
        if changes.read % _BATCH == 0:
            told(_BATCH)
        pending.flush(least=_BATCH)
    while head is not None and not keep:
        pending.gone.append(head[: table.keys])
        pending.flush(least=_BATCH)
        head = next(there, None)
    pending.flush()
    told(changes.read % _BATCH)
    return changes


def fingerprint(table: Table, connection: Connection, where: str = "1 = 1") -> tuple[int, str]:
    """How many rows there are, and a checksum of all of them in their order."""
    number, running = 0, hashlib.blake2b(digest_size=16)
    for row in _rows(table, connection, where):
        number += 1
        running.update(repr(row).encode())
    return number, running.hexdigest()


def count(table: Table, connection: Connection) -> int:
    """How many rows there are."""
    (number,) = connection.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()
    return int(number)


def put_statement(table: Table) -> str:
    """The INSERT of a row, which replaces one with the same key."""
    marks = ", ".join("?" * len(table.columns))
    others = [f'"{name}" = excluded."{name}"' for name in table.columns[table.keys :]]
    action = f"UPDATE SET {', '.join(others)}" if others else "NOTHING"
    return (
        f"INSERT INTO {table.name} ({_names(table.columns)}) VALUES ({marks})"
        f" ON CONFLICT ({_names(table.key)}) DO {action}"
    )


def number_on(connection: Connection, table: Table, newest: int) -> None:
    """Let the database number new rows after ``newest``. Write."""
    if isinstance(connection, sqlite3.Connection):
        sql = "SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE '%AUTOINCREMENT%'"
        if connection.execute(sql, (table.name,)).fetchone() is not None:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            row = (table.name, newest)
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)
        return
    if newest:
        sql = "SELECT setval(pg_get_serial_sequence(?1, ?2), ?3)"
        connection.execute(sql, (table.name, table.key[0], newest)).fetchone()


def _rows(table: Table, connection: Connection, where: str) -> Iterator[Row]:
    columns, key = _names(table.columns), _names(table.key)
    end = f" ORDER BY {key} LIMIT {_PAGE}"
    select = f"SELECT {columns} FROM {table.name} WHERE {where}"
    page = connection.execute(select + end).fetchall()
    marks = ", ".join("?" * table.keys)
    while page:
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1][: table.keys]
        sql = f"{select} AND ({key}) > ({marks}){end}"
        page = connection.execute(sql, last).fetchall()


def _names(columns: tuple[str, ...]) -> str:
    """A list of columns; some are words of SQL."""
    return ", ".join(f'"{name}"' for name in columns)
