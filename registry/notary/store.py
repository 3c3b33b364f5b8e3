"""Published trust data, the server's sealed keys and the changefeed, in a SQLite file of its own.

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

from images.database import Database
from trust.tuf import roles

KEPT: Final = 16
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

MIGRATIONS: Final = (
    """
    CREATE TABLE metadata (
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
    CREATE INDEX metadata_by_hash ON metadata (gun, role, sha256);
    CREATE INDEX metadata_by_resign ON metadata (resign) WHERE resign IS NOT NULL;
    CREATE TABLE keys (
        gun TEXT NOT NULL,
        role TEXT NOT NULL,
        id TEXT NOT NULL,
        public BLOB NOT NULL,
        sealed BLOB NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (gun, role, id)
    ) WITHOUT ROWID;
    CREATE TABLE changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created REAL NOT NULL,
        gun TEXT NOT NULL,
        version INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        category TEXT NOT NULL
    );
    CREATE INDEX changes_by_gun ON changes (gun, id);
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
    """The file ``notary.db`` below ``folder``; methods block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = Database(folder / "notary.db", {"notary": MIGRATIONS})

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def current(self, gun: str, role: str) -> Stored | None:
        """The newest version of a role."""
        return self._one("gun = ? AND role = ? ORDER BY version DESC LIMIT 1", gun, role)

    def versions(self, gun: str) -> dict[str, int]:
        """The newest version of each role."""
        rows = self._db.execute(
            "SELECT role, max(version) FROM metadata WHERE gun = ? GROUP BY role", (gun,)
        )
        return dict(rows)

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
        with self._db.transaction(durable=True):
            if self.versions(gun) != dict(expected):
                raise StaleError
            for role, new in files.items():
                self._insert(gun, role, new, now)
            stamp = files[roles.TIMESTAMP]
            digest = hashlib.sha256(stamp.data).hexdigest()
            self._change(gun, stamp.version, digest, "update", now)

    def delete(self, gun: str, *, now: float) -> bool:
        """Drop a collection with its keys; False when there was none."""
        with self._db.transaction(durable=True):
            found = self._db.changed("DELETE FROM metadata WHERE gun = ?", (gun,)) > 0
            self._db.changed("DELETE FROM keys WHERE gun = ?", (gun,))
            if found:
                self._change(gun, 0, "", "deletion", now)
        return found

    def keys(self, gun: str, role: str) -> list[SealedKey]:
        """The keys held for a role, newest first."""
        rows = self._db.execute(
            "SELECT id, public, sealed FROM keys WHERE gun = ? AND role = ? "
            "ORDER BY created DESC, id",
            (gun, role),
        )
        return [SealedKey(*row) for row in rows]

    def add_key(self, gun: str, role: str, key: SealedKey, *, now: float) -> None:
        """Hold another key; durable when this returns."""
        with self._db.transaction(durable=True):
            self._db.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?)",
                (gun, role, key.id, key.public, key.sealed, now),
            )

    def first_key(self, gun: str, role: str, key: SealedKey, *, now: float) -> SealedKey:
        """Hold ``key`` unless there is one already; returns the one that is held."""
        with self._db.transaction(durable=True):
            held = self.keys(gun, role)
            if not held:
                self.add_key(gun, role, key, now=now)
        return held[0] if held else key

    def due(self, before: float, *, limit: int) -> list[str]:
        """Collections with metadata that must be signed again before that moment."""
        rows = self._db.execute(
            "SELECT DISTINCT gun FROM metadata WHERE resign < ? LIMIT ?", (before, limit)
        )
        return [row[0] for row in rows]

    def changes(self, gun: str, after: int, count: int) -> list[Change]:
        """``count`` changes after that id, oldest first; a negative count reads backwards.

        ``after`` -1 is the end of the feed, ``gun`` "" every collection.
        """
        backwards = count < 0 or after == -1
        clauses, values = ["1"], list[Any]()
        if gun:
            clauses.append("gun = ?")
            values.append(gun)
        if after != -1:
            clauses.append("id < ?" if backwards else "id > ?")
            values.append(after)
        order = "DESC" if backwards else "ASC"
        rows = self._db.execute(
            f"SELECT id, created, gun, version, sha256, category FROM changes "
            f"WHERE {' AND '.join(clauses)} ORDER BY id {order} LIMIT ?",
            (*values, min(abs(count), MAX_PAGE)),
        )
        found = [Change(*row) for row in rows]
        return found[::-1] if backwards else found

    def _one(self, where: str, *values: object) -> Stored | None:
        row = self._db.one(f"SELECT version, data, created FROM metadata WHERE {where}", values)
        return None if row is None else Stored(*row)

    def _insert(self, gun: str, role: str, new: NewMetadata, now: float) -> None:
        hashes = [
            hashlib.new(name, new.data).hexdigest() for name in ("sha256", "sha384", "sha512")
        ]
        self._db.execute(
            "UPDATE metadata SET resign = NULL WHERE gun = ? AND role = ? AND resign NOT NULL",
            (gun, role),
        )
        self._db.execute(
            "INSERT INTO metadata VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (gun, role, new.version, *hashes, now, new.resign, new.data),
        )
        if role != roles.ROOT:
            self._db.execute(
                "DELETE FROM metadata WHERE gun = ? AND role = ? AND version <= ?",
                (gun, role, new.version - KEPT),
            )

    def _change(self, gun: str, version: int, sha256: str, category: str, now: float) -> None:
        self._db.execute(
            "INSERT INTO changes (created, gun, version, sha256, category) VALUES (?, ?, ?, ?, ?)",
            (now, gun, version, sha256, category),
        )
