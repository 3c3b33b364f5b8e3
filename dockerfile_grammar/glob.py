"""Shell patterns of ``${name#pattern}`` and its kin: ``*``, ``?`` and escapes, nothing else.

POSIX shell command language, 2.6.2 and 2.13, without bracket expressions. A pattern is cut at its
stars into segments, each searched for once from left to right, so matching needs no backtracking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dockerfile_grammar.errors import ExpansionError

Segment: TypeAlias = tuple[str | None, ...]
"""Characters that must follow one another; None stands for any one character."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern: the segments between its stars, at least one."""

    segments: tuple[Segment, ...]

    def prefix(self, text: str, *, longest: bool) -> int | None:
        """Length of the shortest or longest prefix of ``text`` that matches, or None."""
        if not _at(self.segments[0], text, 0):
            return None
        return self._rest(text, len(self.segments[0]), longest=longest)

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """The leftmost match at or after ``start`` and, of those, the longest: (begin, end)."""
        begin = _find(self.segments[0], text, start)
        if begin is None:
            return None
        # What follows a star may lie anywhere behind, so a later begin cannot succeed where this
        # one fails.
        end = self._rest(text, begin + len(self.segments[0]), longest=True)
        return None if end is None else (begin, end)

    def reversed(self) -> Glob:
        """The pattern that matches the reversed text."""
        return Glob(tuple(segment[::-1] for segment in self.segments[::-1]))

    def _rest(self, text: str, position: int, *, longest: bool) -> int | None:
        """Match the segments after the first; return where the match ends."""
        last = len(self.segments) - 1
        for number, segment in enumerate(self.segments[1:], start=1):
            found = _find(segment, text, position, last=longest and number == last)
            if found is None:
                return None
            position = found + len(segment)
        return position


def compile_glob(pattern: str) -> Glob:
    r"""Compile a pattern; ``\*``, ``\?`` and ``\\`` are literal, ``\}`` and ``\/`` lose the escape.

    Raises:
        ExpansionError: another escape.
    """
    segments: list[Segment] = []
    current: list[str | None] = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            segments.append(tuple(current))
            current = []
        elif char == "?":
            current.append(None)
        elif char == "\\":
            literal = next(chars, "")
            if literal == "" or literal not in "*?\\}/":
                raise ExpansionError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{literal}'"
                )
            current.append(literal)
        else:
            current.append(char)
    segments.append(tuple(current))
    return Glob(tuple(segments))


def remove_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """``${value#pattern}`` and ``${value##pattern}``."""
    end = compile_glob(pattern).prefix(value, longest=longest)
    return value if end is None else value[end:]


def remove_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """``${value%pattern}`` and ``${value%%pattern}``."""
    end = compile_glob(pattern).reversed().prefix(value[::-1], longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """``${value/pattern/replacement}`` and ``${value//pattern/replacement}``."""
    glob = compile_glob(pattern)
    out: list[str] = []
    position = copied = 0
    previous_end = -1
    while position <= len(value):
        found = glob.search(value, position)
        if found is None:
            break
        begin, end = found
        if begin == end == previous_end:
            # An empty match that touches the one before it does not count.
            position = end + 1
            continue
        out += (value[copied:begin], replacement)
        copied = previous_end = end
        position = end if end > begin else end + 1
        if not every:
            break
    out.append(value[copied:])
    return "".join(out)


def _find(segment: Segment, text: str, start: int, *, last: bool = False) -> int | None:
    literals = [char for char in segment if char is not None]
    if len(literals) == len(segment):
        found = (
            text.rfind("".join(literals), start) if last else text.find("".join(literals), start)
        )
        return None if found < 0 else found
    stop = len(text) - len(segment)
    positions = range(stop, start - 1, -1) if last else range(start, stop + 1)
    return next((position for position in positions if _at(segment, text, position)), None)


def _at(segment: Segment, text: str, position: int) -> bool:
    if position + len(segment) > len(text):
        return False
    return all(
        char is None or text[position + offset] == char for offset, char in enumerate(segment)
    )
