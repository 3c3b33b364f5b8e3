"""Reads a well-formed command line by the tables of ``lading.flags``, in the way of getopt_long(3).

``--flag value``, ``--flag=value``, ``-f value``, ``-fvalue``, bundles like ``-it``, and ``--`` as
the end of flags. What this does not understand it does not judge: the answer is None, and the full
parser has the word, with its messages and its help.
"""

from __future__ import annotations

from collections.abc import Sequence

from lading.flags import (
    LIST,
    ON_OFF,
    OPTIONAL,
    OPTIONAL_TEXT,
    PATH,
    PATHS,
    SWITCH,
    Flag,
    Line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parse(line: Line, words: Sequence[str]) -> dict[str, Any] | None:
    """The value of every flag and positional by its field, or None."""
    names = {name: flag for flag in line.flags for name in flag.names.split()}
    values = {flag.field: _absent(flag) for flag in line.flags}
    rest, positionals = list(reversed(words)), []
    while rest:
        word = rest.pop()
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            positionals.append(word)
            if not line.interspersed:
                break
        elif not (_long if word.startswith("--") else _short)(word, rest, names, values):
            return None
    positionals += reversed(rest)
    return values if _place(line, positionals, values) else None


def _absent(flag: Flag) -> object:
    if flag.kind in (LIST, PATHS):
        return ()
    if flag.kind in (SWITCH, ON_OFF):
        return flag.kind == ON_OFF
    return flag.default


def _long(word: str, rest: list[str], names: dict[str, Flag], values: dict[str, Any]) -> bool:
    name, equals, value = word.partition("=")
    flag = names.get(name)
    if flag is None:
        return False
    if flag.kind in (SWITCH, ON_OFF):
        values[flag.field] = flag.kind == SWITCH or name == flag.names.split()[0]
        return not equals
    if flag.kind in (OPTIONAL, OPTIONAL_TEXT):
        value = value if equals else [*flag.choices, "true"][0]
    elif not equals:
        if not rest:
            return False
        value = rest.pop()
    return _take(flag, value, values)


def _short(word: str, rest: list[str], names: dict[str, Flag], values: dict[str, Any]) -> bool:
    for position, letter in enumerate(word[1:], 2):
        flag = names.get(f"-{letter}")
        if flag is None:
            return False
        if flag.kind == SWITCH:
            values[flag.field] = True
            continue
        if word[position:]:
            return _take(flag, word[position:], values)
        return bool(rest) and _take(flag, rest.pop(), values)
    return True


def _take(flag: Flag, value: str, values: dict[str, Any]) -> bool:
    if flag.choices and value not in flag.choices:
        return False
    taken: Any = value
    if flag.kind in (PATH, PATHS):
        from pathlib import Path

        taken = Path(value)
    several = flag.kind in (LIST, PATHS)
    values[flag.field] = (*values[flag.field], taken) if several else taken
    return True


def _place(line: Line, words: list[str], values: dict[str, Any]) -> bool:
    """Give the positionals their words; False when there are too few or too many."""
    for name in line.positionals:
        if name.endswith("..."):
            values[name.removesuffix("...")] = tuple(words)
            return True
        if words:
            values[name] = words.pop(0)
        elif line.default is not None:
            values[name] = line.default
        else:
            return False
    return not words
