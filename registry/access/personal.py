"""Access tokens that people make for their own clients: listed, expiring, revocable.

A token stands for whoever made it, with that person's rights of the moment. It is kept as a hash
in a store of its own and looked up each time it is shown; what was given for it is looked at
again every second, so a revoked one is over everywhere at once. It makes no tokens and no sessions
itself. Every method of the store blocks.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from registry.access.identity import Identity
from registry.access.private import open_private
from registry.access.refresh import Login
from registry.sql.stores import Store, Stores

PERSONAL_PREFIX: Final = b"lading_personal_"
"""How every token begins, so that scanners find leaked ones and logins know what they are."""

PERSONAL_FILE: Final = "personal.db"
"""The file of the store, beside that of refresh tokens."""

ORIGIN: Final = "@personal/"
"""What ``Login.origin`` begins with; no outside source can be called so."""

MOST: Final = 50
"""Tokens that one person may have."""

LOOK_SECONDS: Final = 1.0
"""How long what was given for a token may outlive it."""

_LABEL: Final = 80
_USED_SECONDS: Final = 600
"""How exactly the last use is known; each note of it is a write."""

STEPS: Final = (
    """
    CREATE TABLE personal_tokens (
        id TEXT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL,
        groups TEXT NOT NULL,
        credential TEXT NOT NULL,
        label TEXT NOT NULL,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        used BIGINT
    );
    CREATE INDEX personal_tokens_by_subject ON personal_tokens (subject, created);
    """,
)
"""The tables, for ``registry.sql.stores``."""

_COLUMNS: Final = "id, subject, groups, credential, label, created, expires, used"


class TooManyTokensError(Exception):
    """Somebody has as many tokens as anybody may have."""


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A token without its secret; times are seconds since the epoch.

    ``credential`` is the fingerprint of what its owner proved to be the owner with.
    """

    id: str
    identity: Identity
    credential: str
    label: str
    created: int
    expires: int
    used: int | None

    @property
    def origin(self) -> str:
        """What marks everything that is given for it."""
        return ORIGIN + self.id

    @property
    def login(self) -> Login:
        """The login that it stands for."""
        return Login(self.identity, self.credential, float(self.expires), self.origin)


class PersonalTokens:
    """The tokens of one registry, shared by its processes and replicas."""

    def __init__(self, store: Store) -> None:
        """``store`` was opened with ``STEPS``."""
        self._store = store

    @classmethod
    def at(cls, path: Path, stores: Stores | None = None) -> Self:
        """Those of a file, made when it is missing, or of what replicas share under its name."""
        return cls(open_private(path, STEPS, stores))

    def issue(
        self, identity: Identity, credential: str, *, label: str, now: float, lifetime: float
    ) -> str:
        """Make a token and return it; only its hash is kept.

        Raises:
            TooManyTokensError: its owner has ``MOST`` already.
        """
        token = PERSONAL_PREFIX.decode() + secrets.token_urlsafe(32)
        subject, groups = str(identity), json.dumps(identity.groups)
        hashed = _hash(token.encode())
        with self._store.transaction() as database:
            database.execute("DELETE FROM personal_tokens WHERE expires <= ?", (int(now),))
            sql = "SELECT count(*) FROM personal_tokens WHERE subject = ?"
            if database.execute(sql, (subject,)).fetchone()[0] >= MOST:
                raise TooManyTokensError
            row = (hashed[:16], hashed, subject, groups, credential, label[:_LABEL])
            database.execute(
                "INSERT INTO personal_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (*row, int(now), int(now + lifetime)),
            )
        return token

    def find(self, token: bytes, *, now: float) -> PersonalToken | None:
        """The token with this secret, whose use is noted; None when it is unknown or over."""
        found = self._one("hash = ?", _hash(token), now)
        if found is not None and now - (found.used or 0) > _USED_SECONDS:
            with self._store.transaction(durable=False) as database:
                sql = "UPDATE personal_tokens SET used = ? WHERE id = ?"
                database.execute(sql, (int(now), found.id))
        return found

    def get(self, name: str, *, now: float) -> PersonalToken | None:
        """The token of this id; None when it is unknown or over."""
        return self._one("id = ?", name, now)

    def of(self, identity: Identity, *, now: float) -> list[PersonalToken]:
        """Somebody's tokens, the newest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM personal_tokens WHERE subject = ? AND expires > ?"
            " ORDER BY created DESC, id"
        )
        rows = self._store.reader().execute(sql, (str(identity), int(now))).fetchall()
        return [_token(row) for row in rows]

    def regroup(self, identity: Identity) -> None:
        """Give somebody's tokens the groups that came with a login of now."""
        groups, subject = json.dumps(identity.groups), str(identity)
        sql = "SELECT 1 FROM personal_tokens WHERE subject = ? AND groups <> ?"
        if self._store.reader().execute(sql, (subject, groups)).fetchone() is None:
            return
        with self._store.transaction() as database:
            sql = "UPDATE personal_tokens SET groups = ? WHERE subject = ?"
            database.execute(sql, (groups, subject))

    def revoke(self, identity: Identity, name: str) -> bool:
        """End one of somebody's tokens; False when there is none of that id."""
        with self._store.transaction() as database:
            sql = "DELETE FROM personal_tokens WHERE id = ? AND subject = ?"
            return bool(database.execute(sql, (name, str(identity))).rowcount)

    def revoke_all(self, identity: Identity) -> int:
        """End all of somebody's tokens; returns how many."""
        with self._store.transaction() as database:
            sql = "DELETE FROM personal_tokens WHERE subject = ?"
            return database.execute(sql, (str(identity),)).rowcount

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def _one(self, condition: str, value: str, now: float) -> PersonalToken | None:
        sql = f"SELECT {_COLUMNS} FROM personal_tokens WHERE {condition} AND expires > ?"
        row = self._store.reader().execute(sql, (value, int(now))).fetchone()
        return None if row is None else _token(row)


def _token(row: tuple[Any, ...]) -> PersonalToken:
    name, subject, groups, credential, label, created, expires, used = row
    whose = Identity.parse(subject)
    identity = Identity(whose.kind, whose.name, tuple(json.loads(groups)))
    return PersonalToken(name, identity, credential, label, created, expires, used)


def _hash(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()
