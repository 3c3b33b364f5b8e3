"""Docker's ``user[:group]`` text, looked up in the container's own /etc/passwd and /etc/group.

Pure: the files come in as bytes. moby ``pkg/user``: a name or a number on either side, a number
needs no entry, the groups of a user are its primary one plus every group that lists its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from records import Record
from runtime.errors import RuntimeFault

MAX_ID: Final = (1 << 32) - 2
"""4294967295 is -1, which setresuid(2) takes as "leave it"."""


class Identity(Record):
    """Numbers to run as, and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(
    text: str, passwd: bytes | None, group: bytes | None, *, extra_groups: Iterable[str] = ()
) -> Identity:
    """The identity for ``text``, which is empty for root; ``extra_groups`` are names or numbers.

    An explicit group replaces every supplementary group of the user (CVE-2022-36109).

    Raises:
        RuntimeFault: ``user-unknown``; no such user or group, or a number out of range.
    """
    user, separator, group_text = text.partition(":")
    name, uid, gid, home = _find_user(user or "0", passwd)
    groups: tuple[int, ...] = ()
    if separator and group_text:
        gid = _find_group(group_text, group)
    elif name is not None:
        groups = tuple(
            number for _, number, members in _groups(group) if name in members and number != gid
        )
    extra = (_find_group(entry, group) for entry in extra_groups)
    return Identity(uid, gid, tuple(dict.fromkeys((gid, *groups, *extra))), home)


def home_of(uid: int, passwd: bytes | None) -> str:
    """The home directory of ``uid``, ``/`` if there is no entry."""
    return next((entry[3] for entry in _users(passwd) if entry[1] == uid), "/")


def _find_user(text: str, passwd: bytes | None) -> tuple[str | None, int, int, str]:
    number = _number(text)
    for name, uid, gid, home in _users(passwd):
        if name == text or (number is not None and uid == number):
            return name, uid, gid, home or "/"
    if number is None:
        raise RuntimeFault(
            f"unable to find user {text}: no matching entries in passwd file",
            fix="create the user in the image, or give a number",
            code="user-unknown",
        )
    return None, number, 0, "/"


def _find_group(text: str, group: bytes | None) -> int:
    number = _number(text)
    for name, gid, _ in _groups(group):
        if name == text or (number is not None and gid == number):
            return gid
    if number is None:
        raise RuntimeFault(
            f"unable to find group {text}: no matching entries in group file",
            fix="create the group in the image, or give a number",
            code="user-unknown",
        )
    return number


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if len(text) <= 10 else MAX_ID + 1
    if number > MAX_ID:
        raise RuntimeFault(
            f"uids and gids must be in range 0-{MAX_ID}, not {text}", code="user-unknown"
        )
    return number


def _fields(content: bytes | None, count: int) -> Iterator[list[str]]:
    for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
        fields = line.strip("\r").split(":")
        if len(fields) >= count and not line.startswith("#"):
            yield fields


def _users(passwd: bytes | None) -> Iterator[tuple[str, int, int, str]]:
    for fields in _fields(passwd, 4):
        if _is_id(fields[2]) and _is_id(fields[3]):
            home = fields[5] if len(fields) > 5 else "/"
            yield fields[0], int(fields[2]), int(fields[3]), home


def _groups(group: bytes | None) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for fields in _fields(group, 3):
        if _is_id(fields[2]):
            members = fields[3].split(",") if len(fields) > 3 else []
            yield fields[0], int(fields[2]), tuple(members)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID
