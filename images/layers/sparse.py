"""Sparse files in tar: which parts of a file an archive really holds.

GNU tar manual, "Storing Sparse Files": the old GNU format (type ``S``) and the PAX versions 0.1 and
1.0. A map is accepted only when its segments are sorted, do not overlap, lie inside the file and
add up to what is stored, so that no reader can see another file than the one we write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from images.errors import InvalidArchiveError

Segment = tuple[int, int]
"""Offset and length in bytes."""

MAX_SEGMENTS: Final = 1 << 20
_RECORD: Final = 512


def old_gnu_map(
    header: bytes, take: Callable[[int], bytes], number: Callable[[bytes], int]
) -> tuple[list[Segment], int]:
    """The map of a type ``S`` header and the file's real size; ``take`` gives following records."""
    size = number(header[483:495])
    segments = _gnu_segments(header[386:482], number)
    extended = header[482]
    while extended:
        record = take(_RECORD)
        segments += _gnu_segments(record[:504], number)
        extended = record[504]
        if len(segments) > MAX_SEGMENTS:
            raise InvalidArchiveError("sparse file has too many segments")
    return segments, size


def pax_map(
    pax: Mapping[str, bytes], take: Callable[[int], bytes]
) -> tuple[list[Segment], int, int] | None:
    """The map by PAX records: segments, real size, and the bytes of map read from the body.

    None when the entry is not sparse.

    Raises:
        InvalidArchiveError: malformed, or the 0.0 version, whose repeated keys no map can hold.
    """
    if pax.get("GNU.sparse.major") == b"1" and pax.get("GNU.sparse.minor") == b"0":
        size = decimal(pax.get("GNU.sparse.realsize", b""))
        segments, used = _body_map(take)
        return segments, size, used
    if "GNU.sparse.map" in pax:
        numbers = [decimal(text) for text in pax["GNU.sparse.map"].split(b",")]
        return _pairs(numbers), decimal(pax.get("GNU.sparse.size", b"")), 0
    if any(key.startswith("GNU.sparse.") for key in pax):
        raise InvalidArchiveError("this version of sparse files is not read")
    return None


def check(segments: list[Segment], size: int, stored: int) -> list[Segment]:
    """The segments that hold data.

    Raises:
        InvalidArchiveError: unsorted, overlapping, outside of the file, or not ``stored`` bytes
            long.
    """
    end = total = 0
    for offset, length in segments:
        if offset < end or offset + length > size:
            raise InvalidArchiveError("sparse map is unsorted, overlaps or leaves its file")
        end = offset + length
        total += length
    if total != stored:
        raise InvalidArchiveError(f"sparse map holds {total} bytes where {stored} are stored")
    return [segment for segment in segments if segment[1]]


def decimal(text: bytes) -> int:
    """A non-negative number in ASCII digits.

    Raises:
        InvalidArchiveError: anything else, signs and blanks included.
    """
    if not text.isdigit() or len(text) > 19:
        raise InvalidArchiveError(f"malformed number {text[:40]!r}")
    return int(text)


def _gnu_segments(fields: bytes, number: Callable[[bytes], int]) -> list[Segment]:
    segments = []
    for at in range(0, len(fields), 24):
        if not fields[at]:
            break
        segments.append((number(fields[at : at + 12]), number(fields[at + 12 : at + 24])))
    return segments


def _body_map(take: Callable[[int], bytes]) -> tuple[list[Segment], int]:
    """Version 1.0: newline-ended numbers at the start of the body, padded to whole records."""
    data = take(_RECORD)
    first, newline, _ = data.partition(b"\n")
    total = decimal(first) if newline else -1
    if not 0 <= total <= MAX_SEGMENTS:
        raise InvalidArchiveError("sparse map is malformed or too long")
    pieces, lines = [data], data.count(b"\n")
    while lines < 1 + 2 * total:
        piece = take(_RECORD)
        pieces.append(piece)
        lines += piece.count(b"\n")
        if len(pieces) * _RECORD > 48 * (total + 1) + _RECORD:
            raise InvalidArchiveError("sparse map is malformed")
    data = b"".join(pieces)
    numbers = [decimal(line) for line in data.split(b"\n")[1 : 1 + 2 * total]]
    return _pairs(numbers), len(data)


def _pairs(numbers: list[int]) -> list[Segment]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS:
        raise InvalidArchiveError("sparse map is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
