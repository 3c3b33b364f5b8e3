"""Shell patterns of ``${name#pattern}`` and its kin: ``*``, ``?`` and escapes, nothing else.

POSIX shell command language, 2.6.2 and 2.13, without bracket expressions. A pattern is cut at its
stars into segments, each searched for once from left to right, so matching needs no backtracking.
A segment with a ``?`` is looked for everywhere at once, one bit for each place in the text.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol, TypeAlias

from dockerfile_grammar.errors import ExpansionError
from records import Record

Segment: TypeAlias = tuple[str | None, ...]
"""Characters that must follow one another; None stands for any one character."""


class Glob(Record):
    """A compiled pattern: the segments between its stars, at least one."""

    segments: tuple[Segment, ...]

    def on(self, text: str) -> GlobSearch:
        """The pattern, ready to be looked for in a text."""
        return GlobSearch([_finder(segment, text) for segment in self.segments])

    def reversed(self) -> Glob:
        """The pattern that matches the reversed text."""
        return Glob(tuple(segment[::-1] for segment in self.segments[::-1]))


class GlobSearch:
    """A pattern in one text."""

    def __init__(self, finders: list[Finder]) -> None:
        self._finders = finders

    def prefix(self, *, longest: bool) -> int | None:
        """Length of the shortest or longest prefix of the text that matches, or None."""
        first = self._finders[0]
        if first.find(0) != 0:
            return None
        return self._rest(first.length, longest=longest)

    def search(self, start: int) -> tuple[int, int] | None:
        """The leftmost match at or after ``start`` and, of those, the longest: (begin, end)."""
        begin = self._finders[0].find(start)
        if begin is None:
            return None
        # What follows a star may lie anywhere behind, so a later begin cannot succeed where this
        # one fails.
        end = self._rest(begin + self._finders[0].length, longest=True)
        return None if end is None else (begin, end)

    def _rest(self, position: int, *, longest: bool) -> int | None:
        """Match the segments after the first; return where the match ends."""
        last = len(self._finders) - 1
        for number, finder in enumerate(self._finders[1:], start=1):
            find = finder.find_last if longest and number == last else finder.find
            found = find(position)
            if found is None:
                return None
            position = found + finder.length
        return position


class Finder(Protocol):
    """Finds one segment in one text."""

    length: int

    def find(self, start: int) -> int | None:
        """The first place at or after ``start``."""

    def find_last(self, start: int) -> int | None:
        """The last place that is not before ``start``."""


class _Literal:
    """A segment without ``?``."""

    def __init__(self, segment: str, text: str) -> None:
        self.length = len(segment)
        self._segment = segment
        self._text = text

    def find(self, start: int) -> int | None:
        found = self._text.find(self._segment, start)
        return None if found < 0 else found

    def find_last(self, start: int) -> int | None:
        found = self._text.rfind(self._segment, start)
        return None if found < 0 else found


class _Places:
    """A segment with a ``?``: every place where it stands."""

    def __init__(self, segment: Segment, text: str) -> None:
        self.length = len(segment)
        everywhere = standing = (1 << len(text)) - 1
        common = set(text).intersection(char for char in segment if char is not None)
        wanted = {char: bytearray(len(text) // 8 + 1) for char in common}
        for at, written in enumerate(text):
            if written in wanted:
                wanted[written][at // 8] |= 1 << at % 8
        masks = {char: int.from_bytes(bits, "little") for char, bits in wanted.items()}
        for offset, char in enumerate(segment):
            if not standing:
                break
            standing &= (everywhere if char is None else masks.get(char, 0)) >> offset
        self._places = [at for at, bit in enumerate(reversed(f"{standing:b}")) if bit == "1"]

    def find(self, start: int) -> int | None:
        index = bisect_left(self._places, start)
        return self._places[index] if index < len(self._places) else None

    def find_last(self, start: int) -> int | None:
        return self._places[-1] if self._places and self._places[-1] >= start else None


def _finder(segment: Segment, text: str) -> Finder:
    if None in segment:
        return _Places(segment, text)
    return _Literal("".join(char for char in segment if char is not None), text)


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
    end = compile_glob(pattern).on(value).prefix(longest=longest)
    return value if end is None else value[end:]


def remove_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """``${value%pattern}`` and ``${value%%pattern}``."""
    end = compile_glob(pattern).reversed().on(value[::-1]).prefix(longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, every: bool, limit: int) -> str:
    """``${value/pattern/replacement}`` and ``${value//pattern/replacement}``.

    Raises:
        ExpansionError: the result has more than ``limit`` characters.
    """
    glob = compile_glob(pattern).on(value)
    out: list[str] = []
    length = len(value)
    position = copied = 0
    previous_end = -1
    while position <= len(value):
        found = glob.search(position)
        if found is None:
            break
        begin, end = found
        if begin == end == previous_end:
            # An empty match that touches the one before it does not count.
            position = end + 1
            continue
        out += (value[copied:begin], replacement)
        length += len(replacement) - (end - begin)
        if length > limit:
            raise ExpansionError(too_long(limit))
        copied = previous_end = end
        position = end if end > begin else end + 1
        if not every:
            break
    out.append(value[copied:])
    return "".join(out)


def too_long(limit: int) -> str:
    """What is wrong with a value that grows without bound."""
    return f"the variables bring in more than {limit} characters"
