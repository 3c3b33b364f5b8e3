"""WWW-Authenticate: what a server asks for, parsed.

RFC 9110, section 11.6.1; Docker registry token authentication specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from records import Record

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's grammar symbol
_SCHEME = re.compile(rf"\s*,*\s*({_TOKEN})(?:[ \t]+|(?=,)|\Z)")
_PARAMETER = re.compile(rf'\s*,*\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?=,|\Z)')
_ESCAPE = re.compile(r"\\(.)")


class Challenge(Record):
    """One scheme (lower case) with its parameters (names lower case)."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read all challenges of all header lines; what cannot be read ends its line."""
    return [challenge for header in headers for challenge in _parse_line(header)]


def _parse_line(header: str) -> Iterable[Challenge]:
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
        yield Challenge(match.group(1).lower(), parameters)
