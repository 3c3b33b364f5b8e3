"""The database under the index: connections, batched transactions, and what must follow a commit.

``registry.sql.sqlite`` and ``registry.sql.postgres`` stand behind it. Reads go through ``reader``.
Writes run only inside ``apply``, where nobody else writes for as long as a batch takes, in whatever
process or replica: what a guard finds there is still true at the commit. Each write has a savepoint
of its own, and ``apply`` returns when all of them are on disk. What a write says to the journal is
kept only if the write is.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import orjson

from registry.election import Offices
from registry.moving.state import BOOT, MOVE, is_over
from registry.sql.connection import Connection

T = TypeVar("T")

NO_REPOSITORY: Final = ""
"""For writes that change no answer a cache could hold: leases, facts, garbage."""


@dataclass(slots=True)
class Write:
    """One write on its way into a batch; a ``durable`` one survives a power loss once answered."""

    repository: str
    operation: Callable[[], Any]
    durable: bool = True
    value: Any = None
    error: Exception | None = None
    """Why it did not happen; with ``value`` the outcome, once the batch was applied."""


class Freshness(Protocol):
    """Tells caches when a repository changed."""

    def current(self, repository: str) -> int:
        """A number that every write to ``repository`` changes; odd while one is under way."""
        ...


class Barrier(Protocol):
    """Keeps caches true that others' writes concern; used from the event loop."""

    async def passed(self) -> None:
        """Wait until what was committed before this call is known to ``generations``.

        Raises:
            DatabaseError: nobody can tell.
        """
        ...

    async def close(self) -> None:
        """Let nobody pass any more."""
        ...


class Journal(Protocol):
    """What is said of a transaction beside the database (``registry.journal``)."""

    @property
    def pending(self) -> int:
        """How many lines the transaction under way has said."""
        ...

    def say(self, *entry: object) -> None:
        """Add a line to the transaction under way."""
        ...

    def forget(self, pending: int) -> None:
        """Drop the lines after the first ``pending`` ones."""
        ...


class Database(ABC):
    """One registry's database, shared by its threads, processes and replicas."""

    mover: str | None = None
    """The move (``registry.moving``) that this process makes, and which it may write during."""
    where: str
    """Names the database in messages; no password is in it."""
    writer: Connection
    """The connection of write methods; to be used inside ``apply`` alone."""
    generations: Freshness
    journal: Journal
    barrier: Barrier | None = None
    """To be passed before an answer from memory; None where ``generations`` know by themselves."""
    offices: Offices
    """What only one of all that use this database may do at a time."""

    @abstractmethod
    def reader(self) -> Connection:
        """What this thread reads with: each statement sees what was committed before it began."""

    @abstractmethod
    def connect(self) -> Connection:
        """A connection of its own for who needs temporary tables; ``close`` closes it too."""

    @abstractmethod
    def disconnect(self, connection: Connection) -> None:
        """Close a connection that ``connect`` made."""

    @abstractmethod
    def apply(self, writes: Sequence[Write]) -> None:
        """Run a batch in one transaction; each write knows its outcome then.

        A write that raises is undone alone. When the commit itself fails, every write of the batch
        gets that error and none of them happened.
        """

    @abstractmethod
    def newest_event(self) -> int:
        """The number of the newest event there ever was, dropped or not; 0 before the first one."""

    @abstractmethod
    def damage(self) -> Iterator[str]:
        """What a look at the database's own structure finds wrong, a line each."""

    def trouble(self) -> str:
        """Why this process should get no requests, "" where nothing is wrong.

        Raises:
            DatabaseError: it cannot be asked.
        """
        return ""

    @abstractmethod
    def crash_mark(self) -> str:
        """What a crash changes that may have lost commits which were not durable; "" until made."""

    @abstractmethod
    def make_crash_mark(self) -> str:
        """Make the mark where it is missing, and return it. Write."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection; no thread may be inside a method."""

    def write(self, repository: str, operation: Callable[[], T], *, durable: bool = True) -> T:
        """Run one write in a transaction of its own and wait for it."""
        write = Write(repository, operation, durable=durable)
        self.apply([write])
        if write.error is not None:
            raise write.error
        result: T = write.value
        return result

    def opens(self, move: str | None) -> None:
        """See that the store takes writes; comes first in each transaction.

        ``move`` is the fact of that name as JSON, None without one. A store that rested for a move
        which was broken off opens again, and everything in it gets a fresh lease.

        Raises:
            StoreMovingError: it is being moved, or was.
        """
        if move is not None and is_over(move, mover=self.mover, now=time.time()):
            self.set_fact(MOVE, None)
            self.set_fact(BOOT, {"id": "", "moment": int(time.time())})

    def fact(self, name: str) -> Any:
        """What is remembered under ``name``; None for nothing."""
        return _value(self.reader(), name)

    def set_fact(self, name: str, value: Any) -> None:
        """Remember a JSON value; None forgets it. Write."""
        if value is None:
            self.writer.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            self.writer.execute(
                "INSERT INTO facts (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, orjson.dumps(value).decode()),
            )

    def _fact(self, name: str) -> Any:
        return _value(self.writer, name)

    def _attempt(self, write: Write) -> None:
        """Do one write of a batch, or undo it and keep its error for who waits."""
        said = self.journal.pending
        self.writer.execute("SAVEPOINT one")
        try:
            write.value = write.operation()
        except Exception as error:  # noqa: BLE001 -- handed to the caller that waits for this write
            self.writer.execute("ROLLBACK TO one")
            self.journal.forget(said)
            write.error = error
        self.writer.execute("RELEASE one")


def _value(connection: Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else orjson.loads(row[0])
