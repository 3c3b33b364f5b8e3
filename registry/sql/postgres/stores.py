"""Rooms' databases in PostgreSQL: each has a schema of its own, beside the index's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from registry.errors import OutgrownError
from registry.replicas.locks import lock_number
from registry.sql.connection import Connection
from registry.sql.errors import DatabaseError, DatabaseLostError, OutcomeUnknownError
from registry.sql.postgres.faults import start_error
from registry.sql.postgres.link import Address, Link
from registry.sql.postgres.migrating import migrate_store
from registry.sql.postgres.pool import Pool
from registry.sql.stores import Store

_READERS: Final = 2
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = {};"
    " SELECT pg_advisory_xact_lock({}); SELECT version FROM format"
)


class PostgresStores:
    """See ``registry.sql.stores.Stores``."""

    def __init__(self, address: Address, *, wait: float) -> None:
        self._address = address
        self._wait = wait

    def open(self, path: Path, steps: Sequence[str]) -> Store:
        """See ``Stores``; the schema is the index's with the stem of ``path`` behind it."""
        return PostgresStore(self._address, path.stem, steps, wait=self._wait)


class PostgresStore:
    """One schema; up to two connections for reads and one for transactions, when there are some."""

    def __init__(self, address: Address, name: str, steps: Sequence[str], *, wait: float) -> None:
        schema = f"{address.schema}_{name}"
        self.where = f"{address.where}_{name}"
        self._number = lock_number(schema, "writes")
        self._format = len(steps)
        self._lock = threading.Lock()
        self._link = Link(lambda: address.connect_to_write(schema))
        self._readers = Pool(lambda: address.connect_to_read(schema), size=_READERS, wait=wait)
        growing = Link(lambda: address.connect(schema))
        try:
            growing.open()
            migrate_store(growing, schema, steps, where=self.where)
        except DatabaseError as error:
            raise start_error(error, self.where) from error
        finally:
            growing.close()

    def reader(self) -> Connection:
        """See ``Store``."""
        return self._readers

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """See ``Store``.

        Raises:
            OutcomeUnknownError: the connection broke at the commit.
            OutgrownError: a newer release brought the schema to its format meanwhile.
        """
        with self._lock:
            try:
                self._begin(_BEGIN.format("on" if durable else "off", self._number))
                yield self._link
                self._commit()
            finally:
                if self._link.in_transaction:
                    with suppress(DatabaseError):
                        self._link.script("ROLLBACK")

    def close(self) -> None:
        """See ``Store``."""
        self._link.close()
        self._readers.close()

    def _begin(self, begin: str) -> None:
        rested = self._link.usable
        try:
            self._link.open()
            row = self._link.script(begin)
        except DatabaseLostError:
            if not rested:
                raise
            self._link.close()
            self._link.open()
            row = self._link.script(begin)
        if row[0] != self._format:
            raise OutgrownError(self.where, row[0], self._format)

    def _commit(self) -> None:
        try:
            self._link.commit()
        except DatabaseLostError as error:
            self._link.close()
            raise OutcomeUnknownError(
                "the database was lost at a commit; it is not known whether this change happened"
            ) from error
