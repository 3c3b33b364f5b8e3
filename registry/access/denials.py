"""Who is not let in any more, whatever they show: a file of identities and of single tokens.

A line is an identity as the audit log writes it (``outside:github/...``, ``user:ada``) or
``token:SOURCE/ID``, one outside token by its ``jti``. The file is watched like that of users, so a
line counts within a second, also for what was given out before. A file that is there and cannot be
read is an error: nobody comes back because a deny list got lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from registry.access.identity import Identity
from registry.errors import RegistryConfigError
from registry.smallfiles import SmallFile, locked, replace

TOKEN: Final = "token:"  # noqa: S105 -- a word
_LIMIT: Final = 1 << 20
_HEADER: Final = "# lading registry access deny|permit\n"


def load_denials(path: SmallFile) -> frozenset[str]:
    """What is denied; nothing when there is no file. Blocks.

    Raises:
        RegistryConfigError: the file cannot be read, is too long, or has a line that is no entry.
    """
    try:
        data = _read(path)
        text = data.decode("utf-8")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryConfigError(f"cannot read the deny list: {error}", where=str(path)) from error
    if len(data) > _LIMIT:
        raise RegistryConfigError("the deny list is longer than 1 MiB", where=str(path))
    found = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line and not line.startswith("#"):
            found.add(checked_entry(line, where=f"{path}:{number}"))
    return frozenset(found)


def checked_entry(text: str, *, where: str) -> str:
    """``text``, when it can be an entry.

    Raises:
        RegistryConfigError: it names nobody and no token.
    """
    if text.startswith(TOKEN) and "/" in text and text.isprintable():
        return text
    try:
        named = Identity.parse(text).named and text.isprintable()
    except ValueError:
        named = False
    if not named:
        raise RegistryConfigError(
            f"{text!r} names nobody and no token",
            where=where,
            fix="write outside:SOURCE/NAME, user:NAME, robot:NAME or token:SOURCE/JTI",
        )
    return text


def deny(path: SmallFile, entry: str) -> bool:
    """Add an entry; False when it was there. Blocks. Raises RegistryConfigError, OSError."""
    return _change(path, checked_entry(entry, where="deny"), denied=True)


def permit(path: SmallFile, entry: str) -> bool:
    """Take an entry back; False when there was none. Blocks. Raises as ``deny`` does."""
    return _change(path, checked_entry(entry, where="permit"), denied=False)


def _change(path: SmallFile, entry: str, *, denied: bool) -> bool:
    with locked(path):
        known = load_denials(path)
        if (entry in known) is denied:
            return False
        lines = sorted(known | {entry} if denied else known - {entry})
        replace(path, (_HEADER + "".join(f"{line}\n" for line in lines)).encode())
    return True


def _read(path: SmallFile) -> bytes:
    """Not much more of it than may be used."""
    if not isinstance(path, Path):
        return path.read_bytes()
    with path.open("rb") as file:
        return file.read(_LIMIT + 1)
