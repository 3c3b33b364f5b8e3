"""The build cache's rows: a key, a value, and the content that must stay for the value to be of
use.

What a key or a value means is the builder's business. ``used`` drives pruning; it is brought up to
date at most once a minute per row, so that a build answered from the cache does not write.
"""

from __future__ import annotations

import time

from images.digest import Digest
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Final

    from images.database import Database, Row

USED_GRAIN: Final = 60.0
"""Seconds."""

_COLUMNS: Final = "key, kind, value, digests, created, used, size"


class CacheRow(Record):
    """One cached result; times in seconds since the epoch, ``size`` in bytes."""

    key: bytes
    kind: str
    value: bytes
    digests: tuple[Digest, ...]
    created: float
    used: float
    size: int


class CacheRows:
    """The ``cache`` table of a store's database."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def get(self, key: bytes) -> CacheRow | None:
        """The row of this key, marked as used now; None when there is none."""
        found = self._database.one(f"SELECT {_COLUMNS} FROM cache WHERE key = ?", (key,))
        if found is None:
            return None
        row = _row(found)
        now = self._clock()
        if now - row.used > USED_GRAIN:
            self._database.execute("UPDATE cache SET used = ? WHERE key = ?", (now, key))
        return row

    def put(
        self, key: bytes, kind: str, value: bytes, *, digests: Sequence[Digest] = (), size: int = 0
    ) -> None:
        """Store or replace a row; garbage collection keeps ``digests`` (blobs or diff ids) for
        it.
        """
        now = self._clock()
        needed = " ".join(map(str, digests))
        self._database.execute(
            f"INSERT OR REPLACE INTO cache ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, kind, value, needed, now, now, size),
        )

    def delete(self, key: bytes) -> bool:
        """Remove a row; returns whether it was there."""
        return self._database.changed("DELETE FROM cache WHERE key = ?", (key,)) > 0

    def rows(self, kind: str | None = None) -> Iterator[CacheRow]:
        """All rows, or those of a kind, least recently used first."""
        where, parameters = ("", ()) if kind is None else ("WHERE kind = ?", (kind,))
        sql = f"SELECT {_COLUMNS} FROM cache {where} ORDER BY used, key"
        yield from map(_row, self._database.execute(sql, parameters))

    def prune(self, *, unused_since: float | None = None, kind: str | None = None) -> int:
        """Remove rows not used since a time (seconds since the epoch); None removes all.

        Returns how many went. The content follows at the next garbage collection.
        """
        conditions, parameters = ["1"], list[object]()
        if unused_since is not None:
            conditions.append("used < ?")
            parameters.append(unused_since)
        if kind is not None:
            conditions.append("kind = ?")
            parameters.append(kind)
        sql = f"DELETE FROM cache WHERE {' AND '.join(conditions)}"
        return self._database.changed(sql, parameters)


def _row(row: Row) -> CacheRow:
    key, kind, value, digests, created, used, size = row
    value = value.encode() if isinstance(value, str) else value
    return CacheRow(
        key, kind, value, tuple(map(Digest.parse, digests.split())), created, used, size
    )
