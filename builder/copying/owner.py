"""Owners: ``--chown`` and USER, from text to numbers by the stage's own /etc/passwd and /etc/group.

Dockerfile reference, "COPY --chown" and "USER". Only the stage's files count, never the host's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError
from records import Record

if TYPE_CHECKING:
    from images.layers.merged import MergedTree

ID_LIMIT: Final = 2**32 - 2
"""The largest user or group id; the one above it means "unchanged" to the kernel."""


class Owner(Record):
    """A user id and a group id."""

    uid: int
    gid: int


ROOT: Final = Owner(0, 0)


class OwnerUnknownError(BuildInputError):
    """The stage knows no user or group of this name, or the number is none."""

    code = "owner-unknown"


def copy_owner(text: str, base: MergedTree | None) -> Owner:
    """``--chown=user[:group]``. A number alone is user and group, a name alone brings its group.

    ``base`` is None for a linked copy, which may not look at what is below it.

    Raises:
        OwnerUnknownError: a name that the stage does not know.
    """
    user, colon, group = text.partition(":")
    if not user and not colon:
        return ROOT
    uid, own_gid = _user(user, base, text) if user else (0, 0)
    if colon:
        return Owner(uid, _group(group, base, text) if group else 0)
    return Owner(uid, uid if _number(user) is not None else own_gid)


def step_owner(text: str, base: MergedTree | None) -> Owner:
    """USER ``user[:group]``. A number alone has the group that the stage gives it, else 0.

    Raises:
        OwnerUnknownError: a name that the stage does not know.
    """
    user, colon, group = text.partition(":")
    if not user:
        return ROOT
    uid, own_gid = _user(user, base, text)
    return Owner(uid, _group(group, base, text) if colon and group else own_gid)


def _user(name: str, base: MergedTree | None, text: str) -> tuple[int, int]:
    """A user's id, and the group that /etc/passwd gives it (0 where it gives none)."""
    number = _number(name)
    for fields in _database(base, "etc/passwd", 4):
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and (fields[0] == name or number == uid):
            return uid, gid
    if number is None:
        raise _unknown("user", name, text, base)
    return number, 0


def _group(name: str, base: MergedTree | None, text: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for fields in _database(base, "etc/group", 3):
        gid = _number(fields[2])
        if fields[0] == name and gid is not None:
            return gid
    raise _unknown("group", name, text, base)


def _database(base: MergedTree | None, path: str, least: int) -> list[list[str]]:
    """The rows of a passwd(5) or group(5) file that have enough fields."""
    text = base.read_text(path) if base is not None else None
    rows = [line.split(":") for line in (text or "").splitlines() if not line.startswith("#")]
    return [row for row in rows if len(row) >= least]


def _number(text: str) -> int | None:
    """A decimal id in range, else None."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= ID_LIMIT else None


def _unknown(kind: str, name: str, text: str, base: MergedTree | None) -> OwnerUnknownError:
    if base is None:
        return OwnerUnknownError(
            f"invalid {kind} {name!r} in {text!r}: a linked copy cannot look up names",
            fix="write numbers, or leave --link out",
        )
    file = "/etc/passwd" if kind == "user" else "/etc/group"
    return OwnerUnknownError(
        f"unable to find {kind} {name}: no matching entry in {file}",
        fix=f"create the {kind} in an earlier step, or write a number",
    )
