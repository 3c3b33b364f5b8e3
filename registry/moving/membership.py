"""All rows of an index into another one, by the tables of its schema.

Triggers of the new index count as rows come and go; what they count is a column or a table as well,
and is made equal after what they count. Repositories come first and without their removals, since
others refer to them, and once more at the end. Tables about objects in a bucket belong to the place
of the bytes: they go along when the bytes stay, as do uploads that are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from registry.database import NO_REPOSITORY
from registry.errors import MigrationError
from registry.index import SqlIndex
from registry.journal import FACT as JOURNAL
from registry.moving.rows import Target, count, equalize, fingerprint, number_on
from registry.moving.state import ARRIVING, BOOT, MOVE
from registry.moving.tables import Table, index_tables
from registry.sql.connection import Connection
from registry.storage import PLACE

REPOSITORIES: Final = "repositories"
FACTS: Final = "facts"
_FIRST: Final = ("manifests", "blob_links", "tags")
"""Their triggers touch other tables, which come after them."""

_LAST: Final = ("usage", "garbage")
_OF_PLACE: Final = ("uploads", "garbage", "object_stages", "object_parts")
_OBJECTS: Final = "object"
_NAMED: Final = ("uploads", "events")
"""Their repositories are names, not numbers."""

_OWN: Final = (JOURNAL, BOOT, PLACE, MOVE, ARRIVING, "failed_commits")
"""Facts about one index alone."""

_CHOSEN: Final = f"name NOT IN ({', '.join(repr(name) for name in _OWN)})"


class Membership:
    """The rows of one index on their way to another."""

    def __init__(self, old: SqlIndex, new: SqlIndex, *, content_stays: bool) -> None:
        self._old = old
        self._new = new
        tables = {table.name: table for table in index_tables()}
        self._repositories = tables.pop(REPOSITORIES)
        self._facts = tables.pop(FACTS)
        if not content_stays:
            for name in [n for n in tables if n in _OF_PLACE or n.startswith(_OBJECTS)]:
                del tables[name]
        between = [name for name in tables if name not in (*_FIRST, *_LAST)]
        self._tables = [tables[n] for n in (*_FIRST, *between, *_LAST) if n in tables]
        self._target = Target(new.reader, self._write)

    def count(self) -> int:
        """How many rows there are now."""
        tables = (self._repositories, *self._tables)
        return sum(count(table, self._old.reader()) for table in tables)

    def equalize(self, told: Callable[[int], object], *, whole: bool) -> int:
        """Make the new index equal; returns how many rows were written or removed.

        Where others write meanwhile it is not made ``whole``: repositories that came or went since
        are left to the next time.
        """
        source, target = self._old.reader(), self._target
        self._free_names()
        changed = equalize(self._repositories, source, target, keep=True, told=told)
        touched = changed.written
        known = "SELECT COALESCE(MAX(id), 0) FROM repositories"
        (newest,) = self._new.reader().execute(known).fetchone()
        for table in self._tables:
            bounded = not whole and "repository" in table.columns and table.name not in _NAMED
            where = f"repository <= {int(newest)}" if bounded else "1 = 1"
            changed = equalize(table, source, target, where=where, told=told)
            touched += changed.written + changed.removed
        touched += equalize(self._repositories, source, target, keep=not whole).removed
        equalize(self._facts, source, target, where=_CHOSEN)
        self._number_on()
        return touched

    def compare(self, deadline: Callable[[], None]) -> dict[str, tuple[int, str]]:
        """The number and checksum of the rows of each table, which are the same in both.

        Raises:
            MigrationError: they are not.
        """
        found = {}
        for table in (self._repositories, *self._tables):
            deadline()
            there = fingerprint(table, self._new.reader())
            found[table.name] = fingerprint(table, self._old.reader())
            if there != found[table.name]:
                raise MigrationError(
                    f"{table.name} has {there[0]} rows here and {found[table.name][0]} in the old"
                    " index, or others",
                    where=self._new.where,
                    fix="run it again; if that stays, report it",
                )
        return found

    def _free_names(self) -> None:
        """Take names from repositories of the new index whose number means another one now."""
        taken = []
        ids = "SELECT id, name FROM repositories WHERE id > ? ORDER BY id LIMIT 1000"
        name_of = "SELECT name FROM repositories WHERE id = ?"
        last = -1
        while page := self._new.reader().execute(ids, (last,)).fetchall():
            for key, name in page:
                row = self._old.reader().execute(name_of, (key,)).fetchone()
                if row is None or row[0] != name:
                    taken.append(key)
            last = page[-1][0]
        if taken:
            # No repository can be called so.
            sql = "UPDATE repositories SET name = ? WHERE id = ?"
            rows = [(f"#{key}", key) for key in taken]
            self._write(lambda connection: _many(connection, sql, rows))

    def _number_on(self) -> None:
        numbered = [it for it in (self._repositories, *self._tables) if it.numbered]
        for table in numbered:
            if table.name == "events":
                newest = self._old.newest_event()
            else:
                sql = f"SELECT COALESCE(MAX({table.key[0]}), 0) FROM {table.name}"
                newest = int(self._old.reader().execute(sql).fetchone()[0])
            self._write(partial(_number, table, newest))

    def _write(self, operation: Callable[[Connection], None]) -> None:
        write = partial(operation, self._new.writer)
        self._new.write(NO_REPOSITORY, write, durable=False)


def _number(table: Table, newest: int, connection: Connection) -> None:
    number_on(connection, table, newest)


def _many(connection: Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(sql, rows)
