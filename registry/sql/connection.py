"""What statements run on. sqlite3's connections and cursors are such as they are, unwrapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    """The rows of one statement."""

    @property
    def rowcount(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE touched."""
        ...

    def fetchone(self) -> Any:
        """The next row as a tuple; None behind the last."""
        ...

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows one by one. PostgreSQL's are all in memory by then: page what is long."""
        ...


class Connection(Protocol):
    """Runs statements; outside of a transaction each is committed at once.

    Raises one of ``registry.sql.errors.DATABASE_ERRORS``.
    """

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun and not ended."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement that gives no rows, for each of the parameters."""
        ...

    def close(self) -> None:
        """Be done with it."""
        ...
