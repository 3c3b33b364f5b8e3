"""Which object has which bytes: rows of the index, judged in the transactions that collections use.

Every blob that is stored gets an object name that was never used before, so a delete that comes
late, from a collection that stood still, can harm nothing that came after it. A name is claimed
before its object exists, by a row of its own or by the open upload that it names, and recorded once
its bytes are verified and there; what is neither claimed nor recorded is the leftover of a process
that was killed. ``touched`` says when bytes were last relied on: collections spare what is younger,
as they spare young files.

``attach`` comes first. Methods marked "write" run inside a transaction, the others begin one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from images.digest import Digest
from images.errors import InvalidDigestError
from registry.database import NO_REPOSITORY, Database
from registry.errors import ContentVanishedError

T = TypeVar("T")

CLAIM_SECONDS: Final = 24 * 3600.0
"""How long a process may take between the claim of a name and its record."""

YOUNG_SECONDS: Final = 60.0
"""Bytes that were relied on so lately are believed to be there: nothing is asked or written. What a
collection takes meanwhile is found missing by the transaction that links it."""

_OF: Final = "."
_PAGE: Final = 1000
_ASKED: Final = 500
"""Names that one statement asks for."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The object that has a blob's bytes; ``size`` in bytes."""

    name: str
    size: int


class Ledger:
    """The objects of one registry, as its index knows them."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._database: Database | None = None

    def attach(self, database: Database) -> None:
        """Keep the rows in this database."""
        self._database = database

    @property
    def database(self) -> Database:
        """The database of the rows."""
        assert self._database is not None, "attach comes first"
        return self._database

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are recorded. Write, since it is asked inside a transaction."""
        sql = "SELECT 1 FROM objects WHERE digest = ?"
        return self.database.writer.execute(sql, (str(digest),)).fetchone() is not None

    def find(self, digest: Digest) -> Stored | None:
        """The object of a blob."""
        sql = "SELECT name, size FROM objects WHERE digest = ?"
        row = self.database.reader().execute(sql, (str(digest),)).fetchone()
        return None if row is None else Stored(*row)

    def sizes(self, digests: Sequence[Digest]) -> dict[Digest, int]:
        """Those of the blobs that are recorded, and their sizes in bytes."""
        marks = ", ".join("?" * len(digests))
        sql = f"SELECT digest, size FROM objects WHERE digest IN ({marks})"
        rows = self.database.reader().execute(sql, [str(digest) for digest in digests])
        return {Digest.parse(digest): int(size) for digest, size in rows}

    def relied(self, digest: Digest) -> tuple[Stored, bool] | None:
        """The object of a blob, and whether it was relied on a moment ago."""
        sql = "SELECT name, size, touched FROM objects WHERE digest = ?"
        row = self.database.reader().execute(sql, (str(digest),)).fetchone()
        if row is None:
            return None
        return Stored(row[0], row[1]), self._clock() - row[2] < YOUNG_SECONDS

    def touch(self, digest: Digest, name: str) -> None:
        """Rely on the object of a blob from now on. Write.

        Raises:
            ContentVanishedError: a collection took it meanwhile.
        """
        sql = "UPDATE objects SET touched = ? WHERE digest = ? AND name = ?"
        changed = self.database.writer.execute(sql, (self._clock(), str(digest), name))
        if changed.rowcount == 0 and not self.has(digest):
            raise ContentVanishedError(
                "it was collected while it was pushed again", where=str(digest), fix="push it again"
            )

    def claim(self, *names: str) -> None:
        """Say that objects of these names are about to exist."""
        sql = "INSERT INTO object_claims (name, moment) VALUES (?, ?)"
        rows = [(name, self._clock()) for name in names]
        self.write(lambda: self.database.writer.executemany(sql, rows))

    def record(self, digest: Digest, stored: Stored, *, instead: str | None) -> None:
        """A claimed object has the bytes. ``instead`` is the one it replaces, found unusable.

        Of two processes that store the same bytes the first is recorded; the other's go to the
        trash.

        Raises:
            ContentVanishedError: the claim had ended; the object may be gone.
        """
        self.write(partial(self.record_claimed, digest, stored, instead))

    def record_all(self, stored: Mapping[Digest, Stored]) -> None:
        """The same for several at once, each new or beside the one that is recorded."""

        def record() -> None:
            for digest, one in stored.items():
                self.record_claimed(digest, one, None)

        self.write(record)

    def retire(self, digest: Digest, *, before: float) -> int | None:
        """Take a blob out of sight unless it was touched since; returns its bytes. Write."""
        execute = self.database.writer.execute
        sql = "DELETE FROM objects WHERE digest = ? AND touched < ? RETURNING name, size"
        row = execute(sql, (str(digest), before)).fetchone()
        if row is None:
            return None if self.has(digest) else 0
        self._discard(row[0])
        return int(row[1])

    def reclaimable(self, digest: Digest, *, before: float) -> int | None:
        """What ``retire`` would return."""
        sql = "SELECT touched, size FROM objects WHERE digest = ?"
        row = self.database.reader().execute(sql, (str(digest),)).fetchone()
        if row is None:
            return 0
        return int(row[1]) if row[0] < before else None

    def forget(self, digest: Digest, name: str) -> None:
        """Forget the object of a damaged blob, which was moved aside."""
        sql = "DELETE FROM objects WHERE digest = ? AND name = ?"
        self.write(lambda: self.database.writer.execute(sql, (str(digest), name)))

    def digests(self) -> Iterator[Digest]:
        """Every recorded blob, in order, a page in memory."""
        sql = "SELECT digest FROM objects WHERE digest > ? ORDER BY digest LIMIT ?"
        last = ""
        while rows := self.database.reader().execute(sql, (last, _PAGE)).fetchall():
            for (digest,) in rows:
                yield Digest.parse(digest)
            last = rows[-1][0]

    def recover(self, found: Sequence[Stored]) -> None:
        """Record objects that a listing found, for an index that knew none; others are left alone.

        Of two with the same bytes one is recorded; a collection takes the other for a leftover.
        """
        sql = (
            "INSERT INTO objects (digest, name, size, touched) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET name = excluded.name, size = excluded.size"
            " WHERE excluded.size > objects.size"
        )
        now = self._clock()
        named = [(digest_of(it.name), it) for it in found]
        rows = [(str(digest), it.name, it.size, now) for digest, it in named if digest is not None]
        self.write(lambda: self.database.writer.executemany(sql, rows))

    def confirm(self) -> None:
        """See that the bucket is still this index's: what it does not know may be another's else.

        What was listed before is its own then, and may go.

        Raises:
            StoreMovingError: the index is being moved, or was.
        """
        self.write(lambda: None)

    def trash(self) -> list[str]:
        """Some objects whose bytes are to go."""
        sql = "SELECT name FROM object_trash LIMIT ?"
        return [name for (name,) in self.database.reader().execute(sql, (_PAGE,))]

    def emptied(self, names: Sequence[str]) -> None:
        """Those objects are gone."""
        sql = "DELETE FROM object_trash WHERE name = ?"
        rows = [(name,) for name in names]
        self.write(lambda: self.database.writer.executemany(sql, rows))

    def end_claims(self) -> None:
        """End claims of processes that must be dead."""
        sql = "DELETE FROM object_claims WHERE moment < ?"
        before = self._clock() - CLAIM_SECONDS
        self.write(lambda: self.database.writer.execute(sql, (before,)))

    def strangers(self, names: Iterable[str]) -> set[str]:
        """Those of the listed objects that are neither recorded nor claimed nor in the trash.

        A name was claimed before it could be listed, and one statement sees claim or record.
        """
        listed = sorted(set(names))
        known: set[str] = set()
        for start in range(0, len(listed), _ASKED):
            known.update(self._known(listed[start : start + _ASKED]))
        return set(listed) - known

    def _known(self, names: Sequence[str]) -> list[str]:
        digests = [str(digest) for name in names if (digest := digest_of(name)) is not None]
        known = f"SELECT name FROM objects WHERE digest IN ({_marks(digests)})"
        others = "".join(
            f" UNION ALL SELECT name FROM {table} WHERE name IN ({_marks(names)})"
            for table in ("object_claims", "object_trash")
        )
        of_uploads: dict[str, list[str]] = {}
        for name in names:
            of_uploads.setdefault(_upload_of(name), []).append(name)
        others += f" UNION ALL SELECT id FROM object_stages WHERE id IN ({_marks(of_uploads)})"
        values = (*digests, *names, *names, *of_uploads)
        rows = self.database.reader().execute(known + others, values)
        return [name for (found,) in rows for name in of_uploads.get(found, (found,))]

    def record_claimed(self, digest: Digest, stored: Stored, instead: str | None) -> None:
        """What ``record`` does. Write."""
        sql = "DELETE FROM object_claims WHERE name = ?"
        if self.database.writer.execute(sql, (stored.name,)).rowcount == 0:
            raise ContentVanishedError(
                "storing it took longer than a day", where=str(digest), fix="push it again"
            )
        self.record_staged(digest, stored, instead)

    def record_staged(self, digest: Digest, stored: Stored, instead: str | None) -> None:
        """As ``record``, of an object that an upload claims, which ends with it. Write."""
        execute = self.database.writer.execute
        now = self._clock()
        if instead is not None:
            sql = "UPDATE objects SET name = ?, size = ?, touched = ? WHERE digest = ? AND name = ?"
            if execute(sql, (stored.name, stored.size, now, str(digest), instead)).rowcount:
                self._discard(instead)
                return
        sql = (
            "INSERT INTO objects (digest, name, size, touched) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET touched = excluded.touched RETURNING name"
        )
        row = execute(sql, (str(digest), stored.name, stored.size, now)).fetchone()
        if row[0] != stored.name:
            self._discard(stored.name)

    def _discard(self, name: str) -> None:
        sql = "INSERT INTO object_trash VALUES (?) ON CONFLICT DO NOTHING"
        self.database.writer.execute(sql, (name,))

    def write(self, operation: Callable[[], T]) -> T:
        """Run a write in a transaction of its own."""
        # What a power cut takes of these, it takes of the rows that rely on them as well: a durable
        # commit makes every commit before it durable.
        return self.database.write(NO_REPOSITORY, operation, durable=False)


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values)) or "NULL"


def object_name(digest: Digest, token: str) -> str:
    """What an object of this blob is called; ``token`` makes it a name that was never used."""
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/{token}"


def staged_name(digest: Digest, upload: str, token: str) -> str:
    """The same for an object that is claimed by an open upload."""
    return object_name(digest, f"{upload}{_OF}{token}")


def _upload_of(name: str) -> str:
    """The upload that claims an object; for any other object, a name that no upload has."""
    upload, of, _ = name.rpartition("/")[2].partition(_OF)
    return upload if of else name


def digest_of(name: str) -> Digest | None:
    """The digest that an object's name states; None when it is no blob's."""
    parts = name.split("/")
    if len(parts) != 5 or parts[0] != "blobs":
        return None
    try:
        digest = Digest.parse(f"{parts[1]}:{parts[3]}")
    except InvalidDigestError:
        return None
    return digest
