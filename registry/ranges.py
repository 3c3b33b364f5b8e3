"""Byte ranges: what a client asks for of a blob, and what it says it sends of one.

RFC 9110 section 14; OCI distribution specification 1.1, "Pushing a blob in chunks".
"""

from __future__ import annotations

import re
from typing import Final

_SINGLE: Final = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*\Z")
_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?([0-9]+)-([0-9]+)(?:/(?:\*|[0-9]+))?\Z")
_DIGITS: Final = 19


class UnsatisfiableRangeError(Exception):
    """The range selects nothing: the answer is 416."""


def select(header: str, size: int) -> tuple[int, int] | None:
    """The (offset, count) that a Range header selects of ``size`` bytes; None: send everything.

    Several ranges, other units and malformed headers are ignored, as the RFC allows. A first byte
    behind the last one is refused: the conformance suite of the specification asks for that.

    Raises:
        UnsatisfiableRangeError: nothing is selected.
    """
    match = _SINGLE.match(header)
    if match is None:
        return None
    first, last = match[1][:_DIGITS], match[2][:_DIGITS]
    if not first and not last:
        return None
    if not first:
        offset, end = max(size - int(last), 0), size
    else:
        offset, end = int(first), min(int(last) + 1, size) if last else size
    if offset >= end:
        raise UnsatisfiableRangeError
    return offset, end - offset


def parse_content_range(header: str) -> tuple[int, int] | None:
    """The (first, last) byte of an uploaded chunk, both inclusive; None when it is malformed."""
    match = _CONTENT_RANGE.match(header)
    if match is None or len(match[1]) > _DIGITS or len(match[2]) > _DIGITS:
        return None
    first, last = int(match[1]), int(match[2])
    return (first, last) if first <= last else None
