"""Which tables a database has, read from the very schema that makes them.

The statements of a schema are run in memory, and SQLite tells columns and keys: whoever adds a
table or a column to a schema has nothing to add here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from registry import schema
from registry.sql.scripts import statements


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, those of the key first and in its order.

    ``numbered`` says that its one key is a number which the database gives.
    """

    name: str
    columns: tuple[str, ...]
    keys: int
    numbered: bool

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the key."""
        return self.columns[: self.keys]


def index_tables() -> tuple[Table, ...]:
    """Those of the index, in no order."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, where="memory")
        return _tables(connection)


def tables_of(steps: Sequence[str]) -> tuple[Table, ...]:
    """Those of a room's database that these steps make."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for step in steps:
            for statement in statements(step):
                connection.execute(statement)
        return _tables(connection)


def _tables(connection: sqlite3.Connection) -> tuple[Table, ...]:
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' "
    names = connection.execute(sql + "ESCAPE '!'").fetchall()
    return tuple(_table(connection, name) for (name,) in names)


def _table(connection: sqlite3.Connection, name: str) -> Table:
    columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
    keyed = sorted((place, column) for _, column, _, _, _, place in columns if place)
    key = [column for _, column in keyed]
    others = [column for _, column, *_ in columns if column not in key]
    types = {column: kind for _, column, kind, *_ in columns}
    numbered = len(key) == 1 and types[key[0]] == "INTEGER"
    return Table(name, (*key, *others), len(key), numbered)
