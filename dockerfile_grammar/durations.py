"""Go's durations: ``1h30m``, ``1.5s``, ``300ms``. HEALTHCHECK's flags are written in them.

Go standard library, time.ParseDuration.
"""

from __future__ import annotations

import re

from dockerfile_grammar.errors import SyntaxFault
from dockerfile_grammar.quoting import quoted

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_LIMIT = 2**63 - 1
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_UNIT = re.compile(r"[^0-9.]+")


def parse_duration(text: str) -> int:
    """Nanoseconds, perhaps negative.

    Raises:
        SyntaxFault: not a duration, or longer than about 292 years.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise _invalid(text)
    total = 0
    position = 0
    while position < len(rest):
        number = _NUMBER.match(rest, position)
        if number is None:
            raise _invalid(text)
        unit = _UNIT.match(rest, number.end())
        if unit is None:
            raise SyntaxFault(
                f"time: missing unit in duration {quoted(text)}",
                code="dockerfile-duration",
                fix="write a unit: ms, s, m or h",
            )
        scale = _UNITS.get(unit.group())
        if scale is None:
            raise SyntaxFault(
                f"time: unknown unit {quoted(unit.group())} in duration {quoted(text)}",
                code="dockerfile-duration",
                fix="use ns, us, ms, s, m or h",
            )
        from decimal import Decimal

        total += int(Decimal(number.group()) * scale)
        position = unit.end()
    if total > _LIMIT:
        raise _invalid(text)
    return -total if text.startswith("-") else total


def _invalid(text: str) -> SyntaxFault:
    return SyntaxFault(
        f"time: invalid duration {quoted(text)}",
        code="dockerfile-duration",
        fix="write a number and a unit, as in 30s or 1m30s",
    )
