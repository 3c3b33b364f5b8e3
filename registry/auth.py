"""Who may do what: everybody, or the users of an htpasswd file.

Passwords are bcrypt hashes, as ``htpasswd -B`` writes them. A verified password is remembered for a
few minutes under a keyed hash, since bcrypt takes a good part of a second by design; unknown users
cost the same time as wrong passwords. With users, ``/v2/`` always asks for credentials, because
clients decide there whether to send them; anonymous pulls are allowed behind it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from registry.errors import ApiError, RegistryConfigError
from registry.protocols import Access
from registry.workers import Workers

_REMEMBERED: Final = 1024
_REMEMBER_SECONDS: Final = 300.0
_NOBODY: Final = ("Basic Og==", "Basic")
"""What podman and skopeo send after a Basic challenge when they have no credentials."""

_PREFIXES: Final = (b"$2a$", b"$2b$", b"$2y$")


class Everybody:
    """Allows everything: the registry of one developer on loopback."""

    async def authorize(self, authorization: str | None, access: Access) -> str:
        """Let the request pass, unnamed."""
        return ""


class HtpasswdUsers:
    """Users who may do everything; nobody else may, but perhaps pull."""

    def __init__(
        self,
        users: Mapping[str, bytes],
        workers: Workers,
        *,
        realm: str,
        anonymous_pull: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = users
        self._workers = workers
        self._challenge = {"WWW-Authenticate": f'Basic realm="{realm}"'}
        self._anonymous_pull = anonymous_pull
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    async def authorize(self, authorization: str | None, access: Access) -> str:
        """Check Basic credentials (RFC 7617); see ``Authorizer``."""
        if authorization is None or authorization in _NOBODY:
            if self._anonymous_pull and access.action == "pull":
                return ""
            raise self._refusal()
        key = hmac.digest(self._key, authorization.encode("utf-8", "surrogateescape"), "sha256")
        known = self._remembered.get(key)
        if known is not None and known[1] > self._clock():
            return known[0]
        user = await self._verify(authorization)
        self._remembered[key] = (user, self._clock() + _REMEMBER_SECONDS)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return user

    async def _verify(self, authorization: str) -> str:
        credentials = parse_basic(authorization)
        if credentials is None:
            raise self._refusal()
        user, password = credentials
        stored = self._users.get(user)
        compared = stored or next(iter(self._users.values()))
        matches = await self._workers.io(partial(_matches, password, compared))
        if stored is None or not matches:
            raise self._refusal()
        return user

    def _refusal(self) -> ApiError:
        return ApiError("UNAUTHORIZED", headers=self._challenge)


def parse_basic(authorization: str) -> tuple[str, bytes] | None:
    """The user and password of a Basic header; None when it is something else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
        user, colon, password = decoded.partition(b":")
        return (user.decode("utf-8"), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def load_htpasswd(path: Path) -> dict[str, bytes]:
    """Read ``user:bcrypt-hash`` lines; blank lines and comments are skipped.

    Raises:
        RegistryConfigError: no user, a hash other than bcrypt, or an unreadable file.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RegistryConfigError(f"cannot read: {error.strerror}", where=str(path)) from error
    users: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        user, colon, stored = line.partition(b":")
        if not user or not colon or not stored.startswith(_PREFIXES):
            raise RegistryConfigError(
                "not a user with a bcrypt hash",
                where=f"{path}:{number}",
                fix="make it with: htpasswd -nB USER",
            )
        users[user.decode("utf-8", "replace")] = stored
    if not users:
        raise RegistryConfigError(
            "no user at all", where=str(path), fix="add one with: htpasswd -B FILE USER"
        )
    return users


def _matches(password: bytes, stored: bytes) -> bool:
    import bcrypt

    # bcrypt reads 72 bytes, so htpasswd hashed no more; a NUL would end the password in C.
    if b"\0" in password:
        return False
    try:
        return bcrypt.checkpw(password[:72], stored)
    except ValueError:
        return False
