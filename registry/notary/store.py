"""Published trust data, the server's sealed keys and the changefeed, in a store of its own.

Bytes are kept as they were uploaded and never written again: hashes are over them. Every root is
kept; of other roles the latest ``KEPT`` versions, for clients in the middle of an update. A publish
is one transaction, and so is a delete, so a reader sees a whole set or another whole set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from registry.sql.connection import Connection
from registry.sql.stores import SqliteStores, Stores
from trust.tuf import roles

KEPT: Final = 16
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

FILE: Final = "notary.db"

STEPS: Final = (
    """
    CREATE TABLE IF NOT EXISTS metadata (
        gun TEXT NOT NULL,
        role TEXT NOT NULL,
        version INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        sha384 TEXT NOT NULL,
        sha512 TEXT NOT NULL,
        created REAL NOT NULL,
        resign REAL,
        data BLOB NOT NULL,
        PRIMARY KEY (gun, role, version)
    );
    CREATE INDEX IF NOT EXISTS metadata_by_hash ON metadata (gun, role, sha256);
    CREATE INDEX IF NOT EXISTS metadata_by_resign ON metadata (resign) WHERE resign IS NOT NULL;
    CREATE TABLE IF NOT EXISTS keys (
        gun TEXT NOT NULL,
        role TEXT NOT NULL,
        id TEXT NOT NULL,
        public BLOB NOT NULL,
        sealed BLOB NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (gun, role, id)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created REAL NOT NULL,
        gun TEXT NOT NULL,
        version INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        category TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS changes_by_gun ON changes (gun, id);
    """,
)


class StaleError(Exception):
    """Somebody published in between; what was validated is no longer the current state."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one role; ``created`` is in seconds since the epoch."""

    version: int
    data: bytes
    created: float


@dataclass(frozen=True, slots=True)
class NewMetadata:
    """What a publish stores; ``resign`` is when we must have signed it again, None if not ours."""

    version: int
    data: bytes
    resign: float | None = None


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key that the server holds: notary's public JSON, and the private key under the vault."""

    id: str
    public: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the changefeed."""

    id: int
    created: float
    gun: str
    version: int
    sha256: str
    category: str


class TrustStore:
    """The store ``notary.db`` below ``folder``; methods block."""

    def __init__(self, folder: Path, stores: Stores | None = None) -> None:
        self._db = (stores or SqliteStores()).open(folder / FILE, STEPS)

    def close(self) -> None:
        """Release it."""
        self._db.close()

    def current(self, gun: str, role: str) -> Stored | None:
        """The newest version of a role."""
        return self._one("gun = ? AND role = ? ORDER BY version DESC LIMIT 1", gun, role)

    def versions(self, gun: str) -> dict[str, int]:
        """The newest version of each role."""
        return _versions(self._db.reader(), gun)

    def by_version(self, gun: str, role: str, version: int) -> Stored | None:
        """One version of a role."""
        return self._one("gun = ? AND role = ? AND version = ?", gun, role, version)

    def by_hash(self, gun: str, role: str, hexadecimal: str) -> Stored | None:
        """The version of a role with these bytes; the length of the hash says which one it is."""
        column = {64: "sha256", 96: "sha384", 128: "sha512"}[len(hexadecimal)]
        return self._one(f"gun = ? AND role = ? AND {column} = ?", gun, role, hexadecimal)

    def publish(
        self,
        gun: str,
        files: Mapping[str, NewMetadata],
        *,
        expected: Mapping[str, int],
        now: float,
    ) -> None:
        """Store a validated set, all of it or nothing; durable when this returns.

        Raises:
            StaleError: the newest versions are not ``expected`` any more.
        """
        with self._db.transaction() as run:
            if _versions(run, gun) != dict(expected):
                raise StaleError
            for role, new in files.items():
                _insert(run, gun, role, new, now)
            stamp = files[roles.TIMESTAMP]
            digest = hashlib.sha256(stamp.data).hexdigest()
            _note(run, gun, stamp.version, digest, "update", now)

    def delete(self, gun: str, *, now: float) -> bool:
        """Drop a collection with its keys; False when there was none."""
        with self._db.transaction() as run:
            found = run.execute("DELETE FROM metadata WHERE gun = ?", (gun,)).rowcount > 0
            run.execute("DELETE FROM keys WHERE gun = ?", (gun,))
            if found:
                _note(run, gun, 0, "", "deletion", now)
        return found

    def keys(self, gun: str, role: str) -> list[SealedKey]:
        """The keys held for a role, newest first."""
        return _keys(self._db.reader(), gun, role)

    def add_key(self, gun: str, role: str, key: SealedKey, *, now: float) -> None:
        """Hold another key; durable when this returns."""
        with self._db.transaction() as run:
            _add_key(run, gun, role, key, now)

    def first_key(self, gun: str, role: str, key: SealedKey, *, now: float) -> SealedKey:
        """Hold ``key`` unless there is one already; returns the one that is held."""
        with self._db.transaction() as run:
            held = _keys(run, gun, role)
            if not held:
                _add_key(run, gun, role, key, now)
        return held[0] if held else key

    def due(self, before: float, *, limit: int) -> list[str]:
        """Collections with metadata that must be signed again before that moment."""
        sql = "SELECT DISTINCT gun FROM metadata WHERE resign < ? LIMIT ?"
        rows = self._db.reader().execute(sql, (before, limit))
        return [row[0] for row in rows]

    def changes(self, gun: str, after: int, count: int) -> list[Change]:
        """``count`` changes after that id, oldest first; a negative count reads backwards.

        ``after`` -1 is the end of the feed, ``gun`` "" every collection.
        """
        backwards = count < 0 or after == -1
        clauses, values = ["id > 0"], list[Any]()
        if gun:
            clauses.append("gun = ?")
            values.append(gun)
        if after != -1:
            clauses.append("id < ?" if backwards else "id > ?")
            values.append(after)
        order = "DESC" if backwards else "ASC"
        rows = self._db.reader().execute(
            f"SELECT id, created, gun, version, sha256, category FROM changes "
            f"WHERE {' AND '.join(clauses)} ORDER BY id {order} LIMIT ?",
            (*values, min(abs(count), MAX_PAGE)),
        )
        found = [Change(*row) for row in rows]
        return found[::-1] if backwards else found

    def _one(self, where: str, *values: object) -> Stored | None:
        sql = f"SELECT version, data, created FROM metadata WHERE {where}"
        row = self._db.reader().execute(sql, values).fetchone()
        return None if row is None else Stored(*row)


def _versions(run: Connection, gun: str) -> dict[str, int]:
    sql = "SELECT role, max(version) FROM metadata WHERE gun = ? GROUP BY role"
    return dict(run.execute(sql, (gun,)).fetchall())


def _keys(run: Connection, gun: str, role: str) -> list[SealedKey]:
    sql = "SELECT id, public, sealed FROM keys WHERE gun = ? AND role = ? ORDER BY created DESC, id"
    return [SealedKey(*row) for row in run.execute(sql, (gun, role))]


def _add_key(run: Connection, gun: str, role: str, key: SealedKey, now: float) -> None:
    sql = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)"
    run.execute(sql, (gun, role, key.id, key.public, key.sealed, now))


def _insert(run: Connection, gun: str, role: str, new: NewMetadata, now: float) -> None:
    hashes = [hashlib.new(name, new.data).hexdigest() for name in ("sha256", "sha384", "sha512")]
    run.execute(
        "UPDATE metadata SET resign = NULL WHERE gun = ? AND role = ? AND resign IS NOT NULL",
        (gun, role),
    )
    run.execute(
        "INSERT INTO metadata VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (gun, role, new.version, *hashes, now, new.resign, new.data),
    )
    if role != roles.ROOT:
        run.execute(
            "DELETE FROM metadata WHERE gun = ? AND role = ? AND version <= ?",
            (gun, role, new.version - KEPT),
        )


def _note(run: Connection, gun: str, version: int, sha256: str, category: str, now: float) -> None:
    sql = "INSERT INTO changes (created, gun, version, sha256, category) VALUES (?, ?, ?, ?, ?)"
    run.execute(sql, (now, gun, version, sha256, category))
