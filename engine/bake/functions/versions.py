"""``semvercmp``: whether a version satisfies a constraint (semver.org, with Masterminds' words).

Constraints are comma or blank separated conditions, all of which must hold, and ``||`` between
alternatives: ``=``, ``!=``, ``<``, ``>``, ``<=``, ``>=``, ``~``, ``^``, ranges ``1.2 - 1.4``, and
``x`` or ``*`` for any number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import STRING
from records import Record

if TYPE_CHECKING:
    from engine.bake.values.value import Value

_PART = r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_VERSION = re.compile(rf"v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?{_PART}", re.ASCII)
_LOOSE = rf"v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?{_PART}"
_CONDITION = re.compile(
    rf"\s*(=<|=>|=|!=|<=|>=|<|>|~>|~|\^)?\s*{_LOOSE}(?=[\s,]|$)[\s,]*", re.ASCII
)
_RANGE = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s*")
_SAME: Final = {"": "=", "=>": ">=", "=<": "<=", "~>": "~"}


class Version(Record):
    """Three numbers and what comes before the release."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Sorts by precedence: a release comes after its own pre-releases."""
        parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre]
        return (self.numbers, 0 if self.pre else 1, parts)


class Condition(Record):
    """One comparison. ``given`` is how many of the numbers are written and no wildcards."""

    operator: str
    version: Version
    given: int

    def holds(self, version: Version) -> bool:
        """Whether a version satisfies it; pre-releases only where one is named."""
        if version.pre and not self.version.pre:
            return False
        low, high = self._span()
        key = version.key
        within = low.key <= key and (high is None or key < high.key)
        match self.operator:
            case "=":
                return within if self.given < 3 else key == low.key
            case "!=":
                return not within if self.given < 3 else key != low.key
            case ">":
                return key > low.key if self.given == 3 else high is not None and key >= high.key
            case ">=":
                return key >= low.key
            case "<":
                return key < low.key
            case "<=":
                return key <= low.key if self.given == 3 else high is None or key < high.key
        return within

    def _span(self) -> tuple[Version, Version | None]:
        """From, and up to but without: what the written numbers, ``~`` or ``^`` leave open."""
        if self.given == 0:
            return self.version, None
        position = min(self.given, 2 if self.operator == "~" else 3) - 1
        if self.operator == "^":
            nonzero = (at for at in range(self.given) if self.version.numbers[at])
            position = next(nonzero, self.given - 1)
        numbers = list(self.version.numbers)
        numbers[position] += 1
        numbers[position + 1 :] = [0] * (2 - position)
        return self.version, Version((numbers[0], numbers[1], numbers[2]))


def parse_version(text: str) -> Version:
    """A version; missing numbers are 0; raises FunctionError."""
    match = _VERSION.fullmatch(text)
    if match is None or len(text) > 256:
        raise FunctionError(f"{text!r} is no version", 0)
    major, minor, patch, pre = match.groups()
    return Version((int(major), int(minor or 0), int(patch or 0)), _pre(pre))


def _pre(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(".")) if text else ()


def parse_constraint(text: str) -> list[list[Condition]]:
    """Alternatives, each of conditions that must all hold; raises FunctionError."""
    return [_conditions(part, text) for part in text.split("||")]


def _conditions(part: str, whole: str) -> list[Condition]:
    span = _RANGE.fullmatch(part)
    if span is not None:
        part = f">={span.group(1)} <={span.group(2)}"
    conditions, position = [], 0
    while position < len(part.rstrip()):
        match = _CONDITION.match(part, position)
        if match is None:
            break
        position = match.end()
        conditions.append(_condition(match))
    if not conditions or position < len(part.rstrip()):
        raise FunctionError(f"{whole!r} is no constraint of versions", 1)
    return conditions


def _condition(match: re.Match[str]) -> Condition:
    operator, *texts, pre = match.groups()
    numbers = []
    for text in texts:
        if text is None or text in ("x", "X", "*"):
            break
        numbers.append(int(text))
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    version = Version((major, minor, patch), _pre(pre))
    return Condition(_SAME.get(operator or "", operator), version, len(numbers))


def _compare(version: Value, constraint: Value) -> Value:
    parsed = parse_version(version.data)
    alternatives = parse_constraint(constraint.data)
    held = any(all(one.holds(parsed) for one in conditions) for conditions in alternatives)
    return make.boolean(held)


FUNCTIONS: Final = (
    Function(
        "semvercmp", (Parameter("version", STRING), Parameter("constraint", STRING)), _compare
    ),
)
