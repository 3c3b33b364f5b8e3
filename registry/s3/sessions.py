"""Uploads on their way: what every process must know of them, as rows of the index.

A session has one holder at a time, named by a token in its row; whoever lost it changes nothing any
more, since each change asks for the token. A holder loses it by ending. Where nobody can tell
whether it has, as with SQLite and another machine, it does when it has been silent for
``HOLD_SECONDS``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from registry.database import NO_REPOSITORY, Database
from registry.errors import ObjectStoreError
from registry.s3.bucket import Part
from registry.s3.ledger import Ledger

T = TypeVar("T")

HOLD_SECONDS: Final = 90.0
"""Longer than a client may stall and than one part takes on its way."""

_PAGE: Final = 1000
_TAKEN: Final = "another request took over this upload"


@dataclass(frozen=True, slots=True)
class Session:
    """What is stored of an upload: parts, and the object ``tail`` with what follows them.

    ``multipart`` and ``tail`` are "" where there is none; ``size`` counts both, in bytes.
    """

    multipart: str
    tail: str
    size: int
    touched: float
    parts: tuple[Part, ...]


class Sessions:
    """The rows of stages. A method is a transaction of its own, or marked "write"."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def create(self, stage: str) -> None:
        """Begin an empty session. Write."""
        sql = "INSERT INTO object_stages (id, touched) VALUES (?, ?)"
        self._database.writer.execute(sql, (stage, self._clock()))

    def take(self, stage: str) -> tuple[str, Session] | None:
        """Hold a session; returns the token and what is stored, or None when another holds it.

        Raises:
            FileNotFoundError: there is no such session.
        """
        return self.write(partial(self._take, stage))

    def give_back(self, stage: str, token: str) -> None:
        """Let others have it; harmless when they do already."""
        sql = "UPDATE object_stages SET holder = '', held_until = 0 WHERE id = ? AND holder = ?"
        self.write(lambda: self._database.writer.execute(sql, (stage, token)))

    def keep(self, stage: str, token: str) -> None:
        """Go on holding; raises ``ObjectStoreError`` when another took it."""
        self._change(stage, token, "holder = holder")

    def begun(self, stage: str, token: str, multipart: str) -> None:
        """A multipart upload was begun for it."""
        self._change(stage, token, "multipart = ?", multipart)

    def grown(self, stage: str, token: str, part: Part, size: int) -> None:
        """A part came to it, which took in the tail; ``size`` counts all parts."""

        def grow() -> None:
            self._set(stage, token, "tail = '', size = ?", size)
            sql = (
                "INSERT INTO object_parts (stage, number, etag, size) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (stage, number) DO UPDATE SET"
                " etag = excluded.etag, size = excluded.size"
            )
            row = (stage, part.number, part.etag, part.size)
            self._database.writer.execute(sql, row)

        self.write(grow)

    def rested(self, stage: str, token: str, tail: str, size: int) -> None:
        """What follows the parts is in the object ``tail``, and others may have the session.

        ``size`` counts both.
        """
        sql = (
            "UPDATE object_stages SET touched = ?, holder = '', held_until = 0, tail = ?, size = ?"
            " WHERE id = ? AND holder = ?"
        )
        parameters = (self._clock(), tail, size, stage, token)

        def rest() -> None:
            if self._database.writer.execute(sql, parameters).rowcount == 0:
                raise ObjectStoreError(_TAKEN)

        self.write(rest)

    def settle(self, stage: str, token: str) -> None:
        """Forget a session whose bytes are a blob now; raises as ``keep``. Write."""
        if not self._delete(stage, token):
            raise ObjectStoreError(_TAKEN)

    def end(self, stage: str, token: str) -> bool:
        """Forget a session; False when another holds it."""
        return self.write(partial(self._delete, stage, token))

    def idle(self, *, before: float) -> Iterator[str]:
        """Sessions that nobody touched since ``before``, a page in memory."""
        sql = (
            "SELECT touched, id FROM object_stages WHERE (touched, id) > (?, ?) AND touched < ?"
            " ORDER BY touched, id LIMIT ?"
        )
        last = (-1.0, "")
        reader = self._database.reader()
        while rows := reader.execute(sql, (*last, before, _PAGE)).fetchall():
            for _, stage in rows:
                yield stage
            last = rows[-1]

    def multipart(self, stage: str) -> str | None:
        """The multipart upload of a session; None when there is no such session."""
        sql = "SELECT multipart FROM object_stages WHERE id = ?"
        row = self._database.reader().execute(sql, (stage,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def _database(self) -> Database:
        return self._ledger.database

    def _take(self, stage: str) -> tuple[str, Session] | None:
        token = f"{self._database.offices.presence()}:{secrets.token_hex(8)}"
        row = self._hold(stage, token, "")
        if row is None:
            holder = self._lost_holder(stage)
            if holder is None:
                return None
            row = self._hold(stage, token, holder)
        multipart, tail, size, touched = row
        parts: tuple[Part, ...] = ()
        if multipart:
            sql = "SELECT number, etag, size FROM object_parts WHERE stage = ? ORDER BY number"
            rows = self._database.writer.execute(sql, (stage,))
            parts = tuple(Part(*part) for part in rows)
        return token, Session(multipart, tail, size, touched, parts)

    def _hold(self, stage: str, token: str, former: str) -> Any:
        sql = (
            "UPDATE object_stages SET holder = ?, held_until = ? WHERE id = ? AND holder = ?"
            " RETURNING multipart, tail, size, touched"
        )
        held = self._clock() + HOLD_SECONDS
        return self._database.writer.execute(sql, (token, held, stage, former)).fetchone()

    def _lost_holder(self, stage: str) -> str | None:
        """The token of a holder that has ended; None while it may be there."""
        sql = "SELECT holder, held_until FROM object_stages WHERE id = ?"
        row = self._database.writer.execute(sql, (stage,)).fetchone()
        if row is None:
            raise FileNotFoundError(stage)
        holder, until = row
        gone = self._database.offices.is_gone(holder.rpartition(":")[0])
        if self._clock() < until if gone is None else not gone:
            return None
        return str(holder)

    def _delete(self, stage: str, token: str) -> bool:
        sql = "DELETE FROM object_stages WHERE id = ? AND holder = ?"
        return self._database.writer.execute(sql, (stage, token)).rowcount > 0

    def _change(self, stage: str, token: str, assignment: str, *values: object) -> None:
        self.write(partial(self._set, stage, token, assignment, *values))

    def _set(self, stage: str, token: str, assignment: str, *values: object) -> None:
        now = self._clock()
        sql = (
            "UPDATE object_stages SET touched = ?1,"
            " held_until = CASE WHEN held_until > ?2 THEN held_until ELSE ?2 END,"
            f" {assignment} WHERE id = ? AND holder = ?"
        )
        parameters = (now, now + HOLD_SECONDS, *values, stage, token)
        if self._database.writer.execute(sql, parameters).rowcount == 0:
            raise ObjectStoreError(_TAKEN)

    def write(self, operation: Callable[[], T]) -> T:
        """Run a write in a transaction of its own."""
        # A session that is lost in a power cut costs the client a retry.
        return self._database.write(NO_REPOSITORY, operation, durable=False)
