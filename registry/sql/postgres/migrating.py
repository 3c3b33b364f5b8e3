"""Schemas that are made and brought up to date, by one process of all that start at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from registry import schema as sqlite_schema
from registry.errors import RegistryStartError
from registry.replicas.locks import lock_number
from registry.sql.postgres.link import Link
from registry.sql.postgres.schema import FIRST, TABLES, TRIGGERS
from registry.sql.scripts import statements
from registry.sql.stores import check_version

_LEAST_SERVER: Final = 130000


def check_server(link: Link, where: str) -> None:
    """Refuse servers that would not keep promises.

    Raises:
        RegistryStartError: the release is too old, or texts are not UTF-8.
    """
    sql = (
        "SELECT CAST(current_setting('server_version_num') AS BIGINT),"
        " current_setting('server_encoding')"
    )
    version, encoding = link.execute(sql).fetchone()
    if version < _LEAST_SERVER:
        raise RegistryStartError(
            f"this server has release {version // 10000}, 13 is the oldest that is known to work",
            where=where,
            fix="upgrade PostgreSQL",
        )
    if encoding != "UTF8":
        raise RegistryStartError(
            f"this database has the encoding {encoding}",
            where=where,
            fix="make one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        )


def migrate_index(link: Link, schema: str, *, where: str) -> None:
    """Make the index's schema, or bring it to the format of this release.

    Raises:
        IndexFormatError: a newer release wrote it. DatabaseError: this user may not.
    """
    with _alone(link, schema):
        version = _version(link, schema)
        check_version(version, sqlite_schema.VERSION, where)
        if version == 0:
            for statement in statements(TABLES):
                link.execute(statement)
            link.script(TRIGGERS)
            version = FIRST
        elif version == sqlite_schema.VERSION:
            return
        else:
            _await_turn(link, schema)
        for step in sqlite_schema.STEPS[version:]:
            for statement in statements(step):
                link.execute(statement)
        _note_version(link, sqlite_schema.VERSION)


def migrate_store(link: Link, schema: str, steps: Sequence[str], *, where: str) -> None:
    """The same for the store of a room; ``steps`` are as ``registry.sql.stores`` says."""
    with _alone(link, schema):
        version = _version(link, schema)
        check_version(version, len(steps), where)
        if version == len(steps):
            return
        if version == 0:
            link.script("CREATE TABLE format (version bigint NOT NULL)")
        else:
            _await_turn(link, schema)
        for step in steps[version:]:
            for statement in statements(step):
                link.execute(statement)
        _note_version(link, len(steps))


@contextmanager
def _alone(link: Link, schema: str) -> Iterator[None]:
    """A transaction that no other process makes schemas in."""
    link.script("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    try:
        link.execute("SELECT pg_advisory_xact_lock(?)", (lock_number("", "schemas"),))
        sql = "SELECT 1 FROM pg_namespace WHERE nspname = ?"
        if link.execute(sql, (schema,)).fetchone() is None:
            link.script(f'CREATE SCHEMA "{schema}"')
        yield
        link.script("COMMIT")
    finally:
        if link.in_transaction:
            link.script("ROLLBACK")


def _await_turn(link: Link, schema: str) -> None:
    """Keep writers out: an older release looks at the format when its batch begins, not again."""
    link.execute("SELECT pg_advisory_xact_lock(?)", (lock_number(schema, "writes"),))


def _version(link: Link, schema: str) -> int:
    sql = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'format'"
    if link.execute(sql, (schema,)).fetchone() is None:
        return 0
    row = link.execute("SELECT version FROM format").fetchone()
    return 0 if row is None else int(row[0])


def _note_version(link: Link, version: int) -> None:
    link.execute("DELETE FROM format")
    link.execute("INSERT INTO format (version) VALUES (?)", (version,))
