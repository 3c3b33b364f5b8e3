"""Ranges of versions, for tags that are versions: ``>=1.2 <2``.

A tag is a version when it is one to three numbers, perhaps behind a ``v``: 1, v1.2, 1.2.3. What
follows a number (``-rc1``, ``-alpine``) makes it something else, which no range has. Missing
numbers are zeros, so ``<2`` ends before 2, 2.0 and 2.0.0 alike.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

Version: TypeAlias = tuple[int, ...]

_TAG: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,2})\Z", re.ASCII)
_TERM: Final = re.compile(r"(>=|<=|>|<|=)?\s*([^\s,<>=]+)")
_TESTS: Final[Mapping[str, Callable[[Version, Version], bool]]] = MappingProxyType(
    {
        ">=": operator.ge,
        "<=": operator.le,
        ">": operator.gt,
        "<": operator.lt,
        "=": operator.eq,
        "": operator.eq,
    }
)


def parse_version(tag: str) -> Version | None:
    """The three numbers of a tag; None when it is no version."""
    match = _TAG.match(tag)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    return tuple((*numbers, 0, 0)[:3])


def range_matcher(text: str) -> Callable[[str], bool]:
    """A test for tags: whether all terms of ``text`` hold; every tag passes an empty range.

    Raises:
        ValueError: it is no range; the text says which part.
    """
    if not text.strip():
        return lambda tag: True
    terms = []
    rest = text
    while rest := rest.strip().lstrip(",").strip():
        match = _TERM.match(rest)
        bound = None if match is None else parse_version(match[2])
        if match is None or bound is None:
            raise ValueError(rest)
        terms.append((_TESTS[match[1] or ""], bound))
        rest = rest[match.end() :]

    def fits(tag: str) -> bool:
        version = parse_version(tag)
        return version is not None and all(test(version, bound) for test, bound in terms)

    return fits
