"""``--chmod``: octal or symbolic, as POSIX chmod writes it.

A symbolic mode without ``ugoa`` means all three, whatever the umask; ``X`` sets the execute bit of
directories and of files that have one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from builder.errors import BuildInputError

_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)\Z")
_ACTION: Final = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|\Z)")
_SHIFTS: Final = {"u": 6, "g": 3, "o": 0}
_BITS: Final = {"r": 4, "w": 2, "x": 1}
_SETUID, _SETGID, _STICKY = 0o4000, 0o2000, 0o1000

ModeChange = Callable[[int, bool], int]
"""From a mode and whether it is a directory's, the new mode."""


class ModeError(BuildInputError):
    """Not a mode."""

    code = "chmod-invalid"


def parse_mode(text: str) -> ModeChange:
    """Compile ``--chmod``.

    Raises:
        ModeError: neither octal up to 07777 nor symbolic.
    """
    if text.isascii() and text.isdigit():
        value = int(text, 8) if set(text) <= set("01234567") and len(text) <= 12 else -1
        if not 0 <= value <= 0o7777:
            raise _invalid(text)
        return lambda mode, directory: value
    actions = [action for clause in text.split(",") for action in _clause(clause, text)]

    def change(mode: int, directory: bool) -> int:  # noqa: FBT001 - the shape of ModeChange
        executable = directory or bool(mode & 0o111)
        for who, operator, permissions in actions:
            mode = _apply(mode, who, operator, permissions, executable=executable)
        return mode

    return change


def _clause(clause: str, text: str) -> list[tuple[str, str, str]]:
    match = _CLAUSE.match(clause)
    if match is None:
        raise _invalid(text)
    who = "ugo" if not match[1] or "a" in match[1] else match[1]
    return [(who, operator, letters) for operator, letters in _ACTION.findall(match[2])]


def _apply(mode: int, who: str, operator: str, letters: str, *, executable: bool) -> int:
    bits = mask = 0
    for shift in {_SHIFTS[letter] for letter in who}:
        mask |= 0o7 << shift
        bits |= _triple(mode, letters, executable=executable) << shift
    if "s" in letters:
        bits |= (_SETUID if "u" in who else 0) | (_SETGID if "g" in who else 0)
    if "t" in letters:
        bits |= _STICKY
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    special = (_SETUID if "u" in who else 0) | (_SETGID if "g" in who else 0)
    return (mode & ~mask & ~special) | bits


def _triple(mode: int, letters: str, *, executable: bool) -> int:
    """The three bits that permission letters, or the class to copy from, stand for."""
    if letters in _SHIFTS:
        return mode >> _SHIFTS[letters] & 0o7
    bits = 0
    for letter in letters:
        bits |= _BITS.get(letter, 0)
    return bits | (1 if "X" in letters and executable else 0)


def _invalid(text: str) -> ModeError:
    return ModeError(
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
        fix="write an octal mode such as 755, or a symbolic one such as u=rwX,go=rX",
    )
