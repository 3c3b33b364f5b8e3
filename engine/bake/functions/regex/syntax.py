"""From a pattern to a tree: https://github.com/google/re2/wiki/Syntax, without scripts of \\p."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from records import Record

DEPTH: Final = 50
"""Groups within one another."""
REPEATS: Final = 1000
"""Largest number in braces; RE2's limit."""

_CLASSES: Final = {
    "alnum": "09AZaz", "alpha": "AZaz", "ascii": "\x00\x7f", "blank": "\t\t  ",
    "cntrl": "\x00\x1f\x7f\x7f", "digit": "09", "graph": "!~", "lower": "az", "print": " ~",
    "punct": "!/:@[`{~", "space": "\t\r  ", "upper": "AZ", "word": "09AZ__az", "xdigit": "09AFaf",
}  # fmt: skip
_SHORT: Final = {"d": "09", "s": "\t\n\f\r  ", "w": "09AZ__az"}
_PLAIN: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_ASSERTIONS: Final = {"A": "begin", "z": "end", "b": "word", "B": "no word"}
_GENERAL = "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp"
_CATEGORIES: Final = frozenset((*_GENERAL.split(), "C", "Cc", "Cf", "Co", "Cs"))
_COUNT = re.compile(r"\{(\d{1,5})(?:(,)(\d{0,5}))?\}", re.ASCII)
_GROUP = re.compile(r"\(\?(?:P?<([A-Za-z_]\w*)>|([imsU]*)(?:-([imsU]+))?([:)]))", re.ASCII)
_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")
_OCTAL = re.compile(r"0?[0-7]{2,3}")

Test = Callable[[str], bool]


class PatternError(Exception):
    """The pattern is malformed; the text says why."""


class Node(Record):
    """Base of the tree; by itself it matches nothing at all, everywhere."""


class Character(Node):
    """One character that passes the test."""

    test: Test


class Assertion(Node):
    """A condition on the place: begin, end, line begin, line end, word, no word."""

    kind: str


class Sequence(Node):
    """One after the other."""

    parts: tuple[Node, ...]


class Choice(Node):
    """The first that leads to a match."""

    parts: tuple[Node, ...]


class Repeat(Node):
    """``most`` is None for any number; ``greedy`` tries more first."""

    inner: Node
    least: int
    most: int | None
    greedy: bool


class Group(Node):
    """What it matches is remembered under a number, from 1."""

    number: int
    inner: Node


class Pattern(Record):
    """A parsed pattern; ``names`` has a name or None for each group."""

    root: Node
    names: tuple[str | None, ...]


def parse_pattern(source: str) -> Pattern:
    """Read a pattern; raises PatternError."""
    return _Parser(source).pattern()


def in_ranges(pairs: str) -> Test:
    """Whether a character is between the first and second, or third and fourth character, ..."""
    ranges = list(zip(pairs[::2], pairs[1::2], strict=True))
    return lambda char: any(low <= char <= high for low, high in ranges)


def _folded(test: Test) -> Test:
    return lambda char: test(char) or test(char.lower()) or test(char.upper())


def _negated(test: Test) -> Test:
    return lambda char: not test(char)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._flags = ""
        self._names: list[str | None] = []
        self._depth = 0

    def pattern(self) -> Pattern:
        root = self._choice()
        if self._position < len(self._source):
            raise PatternError("a ) without its (")
        return Pattern(root, tuple(self._names))

    def _peek(self) -> str:
        return self._source[self._position : self._position + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise PatternError("the pattern ends too early")
        self._position += 1
        return char

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._position += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return Sequence(tuple(parts))

    def _repeated(self, inner: Node) -> Node:
        found = self._count()
        if found is None:
            return inner
        lazy = self._peek() == "?"
        self._position += lazy
        if self._count() is not None:
            raise PatternError("a repetition of a repetition")
        return Repeat(inner, *found, greedy=lazy == ("U" in self._flags))

    def _count(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._peek())
        if simple is not None:
            self._position += 1
            return simple
        match = _COUNT.match(self._source, self._position)
        if match is None:
            return None
        self._position = match.end()
        least = int(match[1])
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if max(least, most or 0) > REPEATS or (most is not None and most < least):
            raise PatternError(f"{match[0]} is no count up to {REPEATS}")
        return least, most

    def _atom(self) -> Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return Character(lambda one: True) if "s" in self._flags else Character(_not_newline)
        if char in "^$":
            line = "line " if "m" in self._flags else ""
            return Assertion(line + ("begin" if char == "^" else "end"))
        if char == "\\":
            return self._escape()
        if char in "*+?":
            raise PatternError(f"nothing to repeat before {char}")
        return self._literal(char)

    def _literal(self, char: str) -> Node:
        return self._tested(lambda one: one == char)

    def _tested(self, test: Test) -> Node:
        return Character(_folded(test) if "i" in self._flags else test)

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > DEPTH:
            raise PatternError(f"more than {DEPTH} groups within one another")
        flags, self._position = self._flags, self._position - 1
        match = _GROUP.match(self._source, self._position)
        number = None
        if match is None:
            self._position += 1
            if self._peek() == "?":
                raise PatternError("looking around and back are not possible")
            self._names.append(None)
            number = len(self._names)
        else:
            self._position = match.end()
            name, on, off, end = match.groups()
            if name is not None:
                if name in self._names:
                    raise PatternError(f"two groups are called {name}")
                self._names.append(name)
                number = len(self._names)
            else:
                kept = (one for one in self._flags + on if one not in (off or ""))
                self._flags = "".join(dict.fromkeys(kept))
                if end == ")":
                    self._depth -= 1
                    return Sequence(())
        inner = self._choice()
        if self._peek() != ")":
            raise PatternError("a ( without its )")
        self._position += 1
        self._flags = flags
        self._depth -= 1
        return inner if number is None else Group(number, inner)

    def _escape(self) -> Node:
        char = self._peek()
        if char in _ASSERTIONS and char:
            self._position += 1
            return Assertion(_ASSERTIONS[char])
        if char == "Q":
            end = self._source.find("\\E", self._position)
            end = len(self._source) if end < 0 else end
            text = self._source[self._position + 1 : end]
            self._position = min(len(self._source), end + 2)
            return Sequence(tuple(self._literal(one) for one in text))
        return self._tested(self._escaped_test())

    def _escaped_test(self) -> Test:
        """What follows a backslash and stands for one character of some kind."""
        char = self._take()
        if char.lower() in _SHORT:
            test = in_ranges(_SHORT[char.lower()])
            return test if char.islower() else _negated(test)
        if char in "pP":
            return self._category(negated=char == "P")
        literal = self._escaped_character(char)
        return lambda one: one == literal

    def _escaped_character(self, char: str) -> str:
        if char in _PLAIN:
            return _PLAIN[char]
        self._position -= 1
        for pattern in (_HEX, _OCTAL):
            match = pattern.match(self._source, self._position)
            if match is not None:
                self._position = match.end()
                digits = match[0] if pattern is _OCTAL else match[1] or match[2]
                number = int(digits, 8 if pattern is _OCTAL else 16)
                if number > 0x10FFFF:
                    raise PatternError(f"\\{match[0]} is no character")
                return chr(number)
        self._position += 1
        if char.isalnum() and char.isascii():
            raise PatternError(f"\\{char} is no escape")
        return char

    def _category(self, *, negated: bool) -> Test:
        name = self._take()
        if name == "{":
            end = self._source.find("}", self._position)
            name = self._source[self._position : end] if end >= 0 else ""
            self._position = end + 1
        if name.startswith("^"):
            negated, name = not negated, name[1:]
        if name not in _CATEGORIES:
            raise PatternError(f"\\p{{{name}}} is no general category")

        def test(char: str) -> bool:
            return unicodedata.category(char).startswith(name)

        return _negated(test) if negated else test

    def _class(self) -> Node:
        negated = self._peek() == "^"
        self._position += negated
        tests: list[Test] = []
        first = True
        while first or self._peek() != "]":
            tests.append(self._class_item())
            first = False
        self._position += 1

        def test(char: str) -> bool:
            return any(one(char) for one in tests)

        found = _folded(test) if "i" in self._flags else test
        return Character(_negated(found) if negated else found)

    def _class_item(self) -> Test:
        posix = _POSIX.match(self._source, self._position)
        if posix is not None:
            if posix[2] not in _CLASSES:
                raise PatternError(f"{posix[0]} is no class")
            self._position = posix.end()
            test = in_ranges(_CLASSES[posix[2]])
            return _negated(test) if posix[1] else test
        if self._peek() == "\\" and self._source[self._position + 1 : self._position + 2] in tuple(
            "dDsSwWpP"
        ):
            self._position += 1
            return self._escaped_test()
        low = self._class_character()
        after = self._source[self._position : self._position + 2]
        if not after.startswith("-") or after == "-]":
            return lambda char: char == low
        self._position += 1
        high = self._class_character()
        if high < low:
            raise PatternError(f"{low}-{high} is no range")
        return lambda char: low <= char <= high

    def _class_character(self) -> str:
        char = self._take()
        return self._escaped_character(self._take()) if char == "\\" else char


def _not_newline(char: str) -> bool:
    return char != "\n"
