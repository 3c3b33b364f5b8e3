"""Keeps the journal in proportion to the store: a new base when the logs outgrow the last one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from registry.database import NO_REPOSITORY, Database
from registry.journal import FACT, Journal
from registry.sql.connection import Connection

_WORTHWHILE: Final = 1 << 20


def rebase(database: Database, connection: Connection, *, always: bool = False) -> bool:
    """Write a base if that pays; ``connection`` is one of the database that nobody else uses."""
    journal = database.journal
    if not isinstance(journal, Journal):
        return False
    if not always and journal.size() < _WORTHWHILE + 2 * journal.base_size():
        return False

    def begin() -> int:
        number = journal.next_number(database.fact)
        database.set_fact(FACT, number)
        # With the write lock held, this sees exactly what the older logs tell.
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM facts").fetchone()
        return number

    number = database.write(NO_REPOSITORY, begin)
    try:
        journal.write_base(number, _state(connection))
    finally:
        connection.execute("COMMIT")
    return True


def _state(connection: Connection) -> Iterator[tuple[object, ...]]:
    manifests = (
        "SELECT r.name, m.digest, m.media_type, m.created"
        " FROM manifests m JOIN repositories r ON r.id = m.repository"
    )
    for row in connection.execute(manifests):
        yield ("manifest", *row)
    tags = (
        "SELECT r.name, t.name, t.digest, t.updated"
        " FROM tags t JOIN repositories r ON r.id = t.repository"
    )
    for row in connection.execute(tags):
        yield ("tag", *row)
