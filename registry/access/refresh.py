"""Refresh tokens: long random strings that stand for a login, kept as hashes.

Every process asks the store each time, so what is revoked is revoked at once. A token is bound to
the password it was given for: a new password ends it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.access.identity import Identity, Kind
from registry.access.private import open_private
from registry.sql.stores import Stores

_PREFIX: Final = "lading_refresh_"
_PER_LOGIN: Final = 100
"""Most tokens of one user; the oldest make room."""

_ALL: Final = 1 << 30

STEPS: Final = (
    """
CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash BLOB PRIMARY KEY,
    subject TEXT NOT NULL,
    credential TEXT NOT NULL,
    service TEXT NOT NULL,
    client TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refresh_tokens_by_subject ON refresh_tokens (subject, created);
CREATE INDEX IF NOT EXISTS refresh_tokens_by_end ON refresh_tokens (expires);
""",
)
"""The tables, for ``registry.sql.stores``."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who logged in, and the fingerprint of the password or secret it was done with.

    ``ends``, in seconds since the epoch, is when the proof itself is over: nothing that is given
    for it lasts longer. ``origin`` is the outside token that was the proof, ``SOURCE/JTI``, or the
    personal one. ``bound`` is the thumbprint of the client certificate that was the proof.
    """

    identity: Identity
    credential: str
    ends: float = float("inf")
    origin: str = ""
    bound: str = ""

    @property
    def lasting(self) -> bool:
        """Whether it may be remembered: a password stays, and what others vouch for is theirs."""
        kept = self.identity.named and self.identity.kind is not Kind.OUTSIDE
        return kept and not self.origin


class RefreshTokens:
    """The tokens of one registry, shared by its processes and replicas. Every method blocks."""

    def __init__(self, path: Path, stores: Stores | None = None) -> None:
        """Those of a file, made when it is missing, or of what replicas share under its name."""
        self._store = open_private(path, STEPS, stores)

    def issue(self, login: Login, *, service: str, client: str, now: float, lifetime: float) -> str:
        """Make a token and return it; only its hash is kept."""
        token = _PREFIX + secrets.token_urlsafe(32)
        subject = str(login.identity)
        row = (_hash(token), subject, login.credential, service, client[:200])
        with self._store.transaction(durable=False) as run:
            run.execute("DELETE FROM refresh_tokens WHERE expires <= ?", (int(now),))
            run.execute(
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens"
                " WHERE subject = ? ORDER BY created DESC LIMIT ? OFFSET ?)",
                (subject, _ALL, _PER_LOGIN - 1),
            )
            run.execute(
                "INSERT INTO refresh_tokens VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, int(now), int(now + lifetime)),
            )
        return token

    def find(self, token: str, *, service: str, now: float) -> Login | None:
        """Whose token this is; None when it is unknown, over, or for another service."""
        sql = (
            "SELECT subject, credential FROM refresh_tokens"
            " WHERE hash = ? AND service = ? AND expires > ?"
        )
        row = self._store.reader().execute(sql, (_hash(token), service, int(now))).fetchone()
        return None if row is None else Login(Identity.parse(row[0]), row[1])

    def revoke(self, identity: Identity) -> int:
        """End every token of one user or robot; returns how many."""
        sql = "DELETE FROM refresh_tokens WHERE subject = ?"
        with self._store.transaction() as run:
            return run.execute(sql, (str(identity),)).rowcount

    def close(self) -> None:
        """Release the store."""
        self._store.close()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
