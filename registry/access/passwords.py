"""Users and their passwords: an htpasswd file of bcrypt hashes, and its edits.

Whoever's password is empty is nobody, and administrators with a well-known password are refused
when the file is read (CVE-2026-4404).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Final

from registry.errors import RegistryConfigError
from registry.smallfiles import SmallFile, locked, replace

_PREFIXES: Final = (b"$2a$", b"$2b$", b"$2y$")
_BCRYPT_BYTES: Final = 72
_ROUNDS: Final = 10
"""2^10, OWASP's least for bcrypt: about 50 ms."""

_HEADER: Final = b"# lading registry user add|passwd|remove\n"

NOBODY: Final = ("Basic Og==", "Basic", "")
"""What podman and skopeo send after a Basic challenge when they have no credentials."""

ADMINISTRATORS: Final = frozenset({"admin", "administrator", "root"})
"""Names that are guessed first, whatever the rules say of them."""

_WELL_KNOWN: Final = (
    "",
    "admin",
    "password",
    "changeme",
    "Harbor12345",
    "12345678",
    "secret",
    "lading",
)
_BY_NAME: Final = ("{}", "{}123", "{}12345")


def parse_basic(authorization: str) -> tuple[str, bytes] | None:
    """The user and password of a Basic header (RFC 7617); None when it is something else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
        user, colon, password = decoded.partition(b":")
        return (user.decode("utf-8"), password) if colon else None
    except ValueError:  # not ASCII, not base64, not UTF-8
        return None


def parse_htpasswd(data: bytes, *, where: str) -> dict[str, bytes]:
    """Read ``user:bcrypt-hash`` lines; blank lines and comments are skipped.

    Raises:
        RegistryConfigError: an empty file, or a hash other than bcrypt.
    """
    if not data.strip():
        raise RegistryConfigError(
            "no user at all", where=where, fix="add one with: htpasswd -B FILE USER"
        )
    users: dict[str, bytes] = {}
    for number, raw in enumerate(data.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        user, colon, stored = line.partition(b":")
        if not user or not colon or not stored.startswith(_PREFIXES):
            raise RegistryConfigError(
                "not a user with a bcrypt hash",
                where=f"{where}:{number}",
                fix="make it with: htpasswd -nB USER",
            )
        users[user.decode("utf-8", "replace")] = stored
    return users


def load_htpasswd(path: SmallFile) -> dict[str, bytes]:
    """Read the file; see ``parse_htpasswd``.

    Raises:
        RegistryConfigError: unreadable, or as there.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RegistryConfigError(f"cannot read: {error.strerror}", where=str(path)) from error
    return parse_htpasswd(data, where=str(path))


def matches(password: bytes, stored: bytes) -> bool:
    """Whether ``password`` hashes to ``stored``; an empty one never does."""
    # A NUL would end the password in C.
    return bool(password) and b"\0" not in password and _equal(password, stored)


@lru_cache(maxsize=4096)
def fingerprint(stored: bytes) -> str:
    """Names one password of one user: what was granted under another is no longer good."""
    return hashlib.sha256(stored).hexdigest()[:16]


def refuse_known_passwords(
    users: Mapping[str, bytes], administrators: Iterable[str], *, checked: SmallFile, where: str
) -> None:
    """Refuse an administrator whose password is empty or among the first that are guessed.

    What was found good is remembered in the file ``checked``, since each look takes bcrypt's time.

    Raises:
        RegistryConfigError: names the user.
    """
    names = sorted({*ADMINISTRATORS, *administrators} & users.keys())
    seen = _seen(checked)
    fresh = [name for name in names if _mark(name, users[name]) not in seen]
    if not fresh:
        return
    with ThreadPoolExecutor(2, thread_name_prefix="registry-passwords") as pool:
        weak = [name for name in fresh if any(pool.map(partial(_is, users[name]), _guesses(name)))]
    if weak:
        raise RegistryConfigError(
            f"{weak[0]} may administrate and has an empty or well-known password",
            where=where,
            fix=f"choose another: lading registry user passwd {weak[0]}, or htpasswd -B",
        )
    with locked(checked):
        marks = [_mark(name, users[name]) for name in names]
        replace(checked, json.dumps(marks).encode())


def set_password(path: SmallFile, user: str, password: str, *, new: bool) -> None:
    """Add a user (``new``) or change a password, in a file that need not be there yet; blocks.

    Raises:
        RegistryConfigError: a name or password that cannot be, a user there already or not at all.
    """
    import bcrypt

    if not user or ":" in user or not user.isprintable() or user != user.strip():
        raise RegistryConfigError("a user's name is printable and holds no colon", where=user)
    if user.startswith("#"):
        raise RegistryConfigError("a user's name does not begin with #", where=user)
    secret = password.encode()
    if not secret or b"\0" in secret or len(secret) > _BCRYPT_BYTES:
        raise RegistryConfigError(
            f"a password has 1 to {_BCRYPT_BYTES} bytes and no NUL", where=user
        )
    if user in ADMINISTRATORS and password in _guesses(user):
        raise RegistryConfigError("this password is among the first that are guessed", where=user)
    stored = bcrypt.hashpw(secret, bcrypt.gensalt(_ROUNDS))
    with locked(path):
        lines = _lines(path)
        at = _find(lines, user)
        if new and at is not None:
            raise RegistryConfigError("the user is there already", where=user, fix="use passwd")
        if not new and at is None:
            raise RegistryConfigError("no such user", where=user, fix="use add")
        entry = user.encode() + b":" + stored
        lines = [*lines, entry] if at is None else [*lines[:at], entry, *lines[at + 1 :]]
        replace(path, b"\n".join(lines) + b"\n")


def remove_user(path: SmallFile, user: str) -> None:
    """Take a user out of the file; blocks.

    Raises:
        RegistryConfigError: there is no such user.
    """
    with locked(path):
        lines = _lines(path)
        at = _find(lines, user)
        if at is None:
            raise RegistryConfigError("no such user", where=user)
        # A comment stays: a file of no bytes at all would be taken for a half-written one.
        lines = [*lines[:at], *lines[at + 1 :]] or [_HEADER.strip()]
        replace(path, b"\n".join(lines) + b"\n")


def _lines(path: SmallFile) -> list[bytes]:
    if not path.exists():
        return [_HEADER.strip()]
    load_htpasswd(path)
    return path.read_bytes().splitlines()


def _find(lines: list[bytes], user: str) -> int | None:
    start = user.encode() + b":"
    return next((n for n, line in enumerate(lines) if line.strip().startswith(start)), None)


def _guesses(user: str) -> list[str]:
    return [*_WELL_KNOWN, *(form.format(user) for form in _BY_NAME)]


def _is(stored: bytes, guess: str) -> bool:
    return _equal(guess.encode(), stored)


def _equal(password: bytes, stored: bytes) -> bool:
    import bcrypt

    try:
        # htpasswd hashed no more than bcrypt reads.
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored)
    except ValueError:
        return False


def _mark(user: str, stored: bytes) -> str:
    return hashlib.sha256(user.encode() + b":" + stored).hexdigest()


def _seen(checked: SmallFile) -> frozenset[str]:
    try:
        return frozenset(map(str, json.loads(checked.read_bytes())))
    except (OSError, ValueError, TypeError):
        return frozenset()
