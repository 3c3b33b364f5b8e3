"""Connections to PostgreSQL: how they are made, and what statements run on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql as quoting
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from registry.errors import RegistryStartError
from registry.sql.connection import Cursor
from registry.sql.errors import DatabaseError, DatabaseLostError
from registry.sql.postgres.dialect import translate
from registry.sql.postgres.faults import fault_of
from registry.sql.postgres.patience import PatientConnection, Pause
from registry.sql.settings import IndexSettings

Raw: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

LOCK_SECONDS: Final = 30
"""How long a statement waits for others, as with SQLite."""
_LOOK_SECONDS: Final = 10.0
"""How long a look at a lock may take, which waits for nobody."""

_IDLE_SECONDS: Final = 60
"""After so long within a transaction that asks nothing, its process stands still: others go on."""

_DEFAULTS: Final = {
    "application_name": "lading registry",
    "client_encoding": "UTF8",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # A server that only repeats another one has yesterday's answers.
    "target_session_attrs": "read-write",
}


class Address:
    """Where the database is, and how it is spoken to; ``where`` has no password."""

    def __init__(self, settings: IndexSettings) -> None:
        """Read the settings.

        Raises:
            RegistryStartError: the URL cannot be understood. OSError: its file cannot be read.
        """
        url, place = settings.url, "index.url"
        if settings.url_file is not None:
            url, place = settings.url_file.read_text().strip(), "index.url_file"
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            # Its text quotes the URL, password and all.
            raise RegistryStartError(
                "this is no URL of PostgreSQL",
                where=place,
                fix="write postgresql://user:password@host:5432/database",
            ) from None
        timeout = str(max(2, int(settings.wait)))
        self._dsn = make_conninfo("", **{**_DEFAULTS, "connect_timeout": timeout, **given})
        self.timeout = settings.timeout
        self._pause = Pause()
        self.schema = settings.schema
        host = given.get("host") or "localhost"
        self.where = f"postgresql://{host}/{given.get('dbname') or ''}?schema={self.schema}"

    def connect_plainly(self) -> Raw:
        """A connection for who writes psycopg's own parameters; raises as ``connect``.

        Nothing that is asked there takes the server long.
        """
        connect = partial(PatientConnection.connect, self._dsn, autocommit=True)
        raw = self._pause.connect(connect)
        raw.patience = min(self.timeout, _LOOK_SECONDS)
        return raw

    def connect_to_write(self, schema: str | None = None) -> Raw:
        """The same as ``connect``, for statements that also wait for others."""
        return self.connect(schema, patience=LOCK_SECONDS + self.timeout)

    def connect_to_read(self, schema: str | None = None) -> Raw:
        """The same as ``connect``, for statements of requests."""
        return self.connect(schema, patience=self.timeout)

    def connect(self, schema: str | None = None, *, patience: float | None = None) -> Raw:
        """A new connection that commits each statement; its tables are those of ``schema``.

        An answer may take ``patience`` seconds, None is for work that takes as long as it takes.

        Raises:
            psycopg.Error: there is none to be had.
        """
        connect = partial(
            PatientConnection.connect,
            self._dsn,
            autocommit=True,
            cursor_factory=psycopg.RawCursor,
        )
        raw = self._pause.connect(connect)
        raw.patience = self.timeout
        try:
            # One type for all integers: one prepared statement, whatever their sizes.
            raw.adapters.register_dumper(int, Int8Dumper)
            raw.execute(
                quoting.SQL(
                    "SET search_path = {}; SET lock_timeout = {};"
                    " SET idle_in_transaction_session_timeout = {}; SET jit = off"
                ).format(
                    quoting.Identifier(schema or self.schema),
                    quoting.Literal(f"{LOCK_SECONDS}s"),
                    quoting.Literal(f"{_IDLE_SECONDS}s"),
                )
            )
        except BaseException:
            raw.close()
            raise
        raw.patience = patience
        return raw


class Link:
    """A connection as ``registry.sql`` knows it; ``open`` makes the one under it anew."""

    def __init__(self, connect: Callable[[], Raw]) -> None:
        self._connect = connect
        self._raw: Raw | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a connection that has not been found broken."""
        return self._raw is not None and not self._raw.closed

    def open(self) -> None:
        """Connect, unless the connection is thought to be there."""
        if not self.usable:
            try:
                self._raw = self._connect()
            except psycopg.Error as error:
                raise fault_of(error) from error

    @property
    def in_transaction(self) -> bool:
        """See ``Connection``; a broken connection is in none."""
        raw = self._raw
        return (
            raw is not None
            and not raw.closed
            and raw.info.transaction_status is not TransactionStatus.IDLE
        )

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """See ``Connection``."""
        return run(self._live(), sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """See ``Connection``."""
        raw = self._live()
        try:
            cursor = raw.cursor()
            cursor.executemany(translate(sql), parameters)
        except psycopg.Error as error:
            raise fault_of(error) from error
        return cursor

    def script(self, statements: str) -> Any:
        """Run statements of PostgreSQL's own, without parameters, in one round trip.

        Returns the first row of the last one; None when it has none.
        """
        try:
            cursor = self._live().execute(statements.encode(), prepare=False)
            while cursor.nextset():
                pass
            return cursor.fetchone() if cursor.description else None
        except psycopg.Error as error:
            raise fault_of(error) from error

    def commit(self, *last: tuple[str, Sequence[Any]]) -> None:
        """Run the last statements of the transaction and commit it, in one round trip.

        Raises:
            DatabaseError: a statement of it had failed, which somebody passed over.
        """
        raw = self._live()
        try:
            if last:
                with raw.pipeline():
                    for sql, parameters in last:
                        raw.execute(translate(sql), parameters)
                    committed = raw.execute(b"COMMIT")
            else:
                committed = raw.execute(b"COMMIT", prepare=False)
        except psycopg.Error as error:
            raise fault_of(error) from error
        if committed.statusmessage != "COMMIT":
            raise DatabaseError("a transaction went on behind a statement that failed")

    def close(self) -> None:
        """See ``Connection``."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def _live(self) -> Raw:
        if self._raw is None or self._raw.closed:
            raise DatabaseLostError("the connection to the database of the index was lost")
        return self._raw


def run(raw: Raw, sql: str, parameters: Sequence[Any]) -> Cursor:
    """Run one of our statements; raises ``DatabaseError``."""
    try:
        return raw.execute(translate(sql), parameters or None)
    except psycopg.Error as error:
        raise fault_of(error) from error
