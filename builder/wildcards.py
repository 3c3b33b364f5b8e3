r"""Wildcards of paths: ``*``, ``?``, ``[...]``, ``\`` and ``**``, read into tokens and matched.

Go's path/filepath.Match, and for ``**`` moby/patternmatcher: ``**/x`` is x at any depth, a plain
text after a leading ``**`` without slash is a suffix, a trailing ``**`` is everything that follows,
and elsewhere ``**`` stands for any number of whole parts. A pattern with few gaps becomes a regular
expression; one with many is walked by ``Walker``, because an expression would try every way to
share a path out among the gaps.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, TypeAlias

    Token: TypeAlias = tuple[str, str]
    """A piece of a pattern: its kind, and the regular expression that stands for it."""

ONE: Final = "one"
"""Exactly one character, told by the expression."""
STAR: Final = "star"
"""Any characters of one part."""
DEEP: Final = "deep"
"""Any number of whole parts."""
REST: Final = "rest"
"""Anything."""

ANY_DEPTH: Final = "(?:.*/)?"
STARS_LIMIT: Final = 2
DEEPS_LIMIT: Final = 1


def tokens(pattern: str) -> list[Token]:
    """Read a cleaned pattern.

    Raises:
        ValueError: a class without end, a range that is none, or nothing behind a backslash.
    """
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        rest = pattern[2:]
        if rest.startswith("/"):
            return [(DEEP, ANY_DEPTH), *_literal(rest[1:])]
        return [(REST, ".*"), *_literal(rest)]
    found: list[Token] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern.startswith("*", position):
            position += 1
            position += pattern.startswith("/", position)
            last = position >= len(pattern)
            found.append((REST, ".*") if last else (DEEP, ANY_DEPTH))
        elif char == "*":
            found.append((STAR, "[^/]*"))
        elif char == "?":
            found.append((ONE, "[^/]"))
        elif char == "[":
            expression, position = _class(pattern, position)
            found.append((ONE, expression))
        elif char == "\\":
            if position == len(pattern):
                raise ValueError("trailing escape")
            found += _literal(pattern[position])
            position += 1
        else:
            found += _literal(char)
    return found


def expression(found: Sequence[Token]) -> str:
    """The regular expression of a pattern, for ``re.DOTALL``."""
    return "".join(piece for _, piece in found)


def is_wild(found: Sequence[Token]) -> bool:
    """Whether a pattern has so many gaps that only a ``Walker`` should match it."""
    kinds = [kind for kind, _ in found]
    return kinds.count(STAR) > STARS_LIMIT or kinds[:-1].count(DEEP) > DEEPS_LIMIT


class Walker:
    """Matches in time proportional to the pattern and the path, whatever the gaps.

    The positions of the path that a prefix of the pattern can reach are the bits of one number, and
    each token moves all of them at once (Myers, "A fast bit-vector algorithm", 1999).
    """

    def __init__(self, found: Sequence[Token]) -> None:
        self._tokens = [(kind, re.compile(piece, re.DOTALL).match) for kind, piece in found]

    def matches(self, path: str) -> bool:
        """Whether the pattern is the whole path."""
        return bool(self._reached(path) >> len(path))

    def matches_above(self, path: str) -> bool:
        """Whether the pattern is the whole path, or a directory above it."""
        ends = sum(1 << at for at, char in enumerate(path) if char == "/") | 1 << len(path)
        return bool(self._reached(path) & ends)

    def _reached(self, path: str) -> int:
        where: dict[str, int] = {}
        for at, char in enumerate(path):
            where[char] = where.get(char, 0) | 1 << at
        slashes = where.get("/", 0)
        others = (1 << len(path)) - 1 & ~slashes
        reached = 1
        for kind, match in self._tokens:
            lowest = reached & -reached
            if kind == ONE:
                fitting = sum(places for char, places in where.items() if match(char))
                reached = (reached & fitting) << 1
            elif kind == STAR:
                # Adding carries every position through the characters that are no slash.
                reached |= ((reached & others) + others) ^ others
            elif kind == DEEP:
                reached |= slashes << 1 & ~((lowest << 1) - 1)
            else:
                reached = (2 << len(path)) - lowest
            if not reached:
                return 0
        return reached


def _literal(text: str) -> list[Token]:
    return [(ONE, re.escape(char)) for char in text]


def _class(pattern: str, position: int) -> tuple[str, int]:
    """Read a character class after its ``[``; return its expression and where it ends.

    Raises:
        ValueError: the class has no end, or a range is none (Go, path/filepath.Match).
    """
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _class_char(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_char(pattern, position + 1)
        if low > high:
            raise ValueError("a range that ends before it begins")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    body = "".join(ranges)
    # A class never matches the slash: an extra look is cheaper than splitting the ranges around it.
    return (f"[^/{body}]" if negated else f"(?!/)[{body}]"), position + 1


def _class_char(pattern: str, position: int) -> tuple[str, int]:
    char = pattern[position : position + 1]
    if not char or char in "-]":
        raise ValueError("a character class without end")
    if char == "\\":
        position += 1
        char = pattern[position : position + 1]
        if not char:
            raise ValueError("trailing escape")
    return char, position + 1
