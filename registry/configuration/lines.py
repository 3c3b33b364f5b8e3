"""On which line a TOML document sets what: tomllib does not say.

A scan of the document's tokens, meant for text that tomllib has accepted already; it follows
headers, dotted keys and brackets, and steps over strings and comments. TOML 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

Step = str | int

_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\''
    r'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
    r"|#[^\n]*|[\[\]{}=,.\n]|[^\s\[\]{}=,.#\"']+",
    re.DOTALL,
)


def toml_lines(text: str) -> dict[tuple[Step, ...], int]:
    """Lines, counted from one, by the path of names and indexes that is set there."""
    lines: dict[tuple[Step, ...], int] = {}
    entries: dict[tuple[Step, ...], int] = {}
    table: tuple[Step, ...] = ()
    for number, tokens in _statements(text):
        if tokens[0] != "[":
            path = (*table, *_names(tokens[: tokens.index("=")]))
        elif tokens[1] == "[":
            name = _inside(entries, tuple(_names(tokens[2:-2])))
            entries[name] = entries.get(name, -1) + 1
            path = table = (*name, entries[name])
            lines.setdefault(name, number)
        else:
            path = table = _inside(entries, tuple(_names(tokens[1:-1])))
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each header or assignment with its first line; a value's line breaks do not end it."""
    tokens: list[str] = []
    depth, number, first = 0, 1, 1
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece == "\n" and depth == 0:
            if tokens:
                yield first, tokens
            tokens = []
        elif piece != "\n" and not piece.startswith("#"):
            if not tokens:
                first = number
            tokens.append(piece)
            depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        number += piece.count("\n")
    if tokens:
        yield first, tokens


def _names(tokens: list[str]) -> Iterator[str]:
    for piece in tokens:
        if piece != ".":
            yield piece[1:-1] if piece[0] in "\"'" else piece


def _inside(entries: dict[tuple[Step, ...], int], names: tuple[Step, ...]) -> tuple[Step, ...]:
    """Where a header points: below the last entry of each list that its name passes."""
    path: tuple[Step, ...] = ()
    for position, name in enumerate(names, start=1):
        path = (*path, name)
        if path in entries and position < len(names):
            path = (*path, entries[path])
    return path
