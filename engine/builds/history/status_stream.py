"""Progress of a build as BuildKit stores it: messages of its control API, one behind another.

Each is a ``StatusResponse`` (moby/buildkit, api/services/control/control.proto) in protobuf's
binary form, after four bytes of its length, little-endian. What is not known here is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

    Value: TypeAlias = int | bytes

_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5
_NANO: Final = 1e-9


class StatusError(ValueError):
    """The stream is cut short or no protobuf."""


class Vertex(Record):
    """What is told of a step at one moment; times in seconds since the epoch."""

    digest: str
    name: str = ""
    inputs: tuple[str, ...] = ()
    cached: bool = False
    started: float | None = None
    completed: float | None = None
    error: str = ""


class Output(Record):
    """What a step wrote."""

    vertex: str
    time: float
    stream: int
    data: bytes


class Warned(Record):
    """A warning about a line of a file, whose content comes along; no line is 0."""

    text: str
    filename: str = ""
    content: bytes = b""
    line: int = 0


def messages(stream: bytes) -> Iterator[Vertex | Output | Warned]:
    """What the stream tells, in its order.

    Raises:
        StatusError: it is damaged.
    """
    position = 0
    while position < len(stream):
        size = int.from_bytes(stream[position : position + 4], "little")
        position += 4 + size
        if position > len(stream):
            raise StatusError("the progress of the build is cut short")
        for number, value in _fields(stream[position - size : position]):
            # Field 2, the progress of transfers, is nothing that stays.
            if number == 1:
                yield _vertex(_whole(value))
            elif number == 3:
                yield _output(_whole(value))
            elif number == 4:
                yield _warned(_whole(value))


def _vertex(data: bytes) -> Vertex:
    found = _by_number(data)
    return Vertex(
        _text(found, 1),
        _text(found, 3),
        tuple(_whole(it).decode("utf-8", "replace") for it in found.get(2, ())),
        any(found.get(4, ())),
        _moment(found, 5),
        _moment(found, 6),
        _text(found, 7),
    )


def _output(data: bytes) -> Output:
    found = _by_number(data)
    stream = found.get(3, [1])[-1]
    return Output(
        _text(found, 1),
        _moment(found, 2) or 0.0,
        stream if isinstance(stream, int) else 1,
        _whole(found.get(4, [b""])[-1]),
    )


def _warned(data: bytes) -> Warned:
    found = _by_number(data)
    info = _by_number(_whole(found.get(6, [b""])[-1]))
    line = 0
    for value in found.get(7, [])[:1]:
        start = _by_number(_whole(_by_number(_whole(value)).get(1, [b""])[-1]))
        number = start.get(1, [0])[-1]
        line = number if isinstance(number, int) else 0
    return Warned(_text(found, 3), _text(info, 1), _whole(info.get(2, [b""])[-1]), line)


def _by_number(data: bytes) -> dict[int, list[Value]]:
    found: dict[int, list[Value]] = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message: numbers of 32 and 64 bits as bytes, varints as integers."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind, size = key & 7, 0
        if kind == _VARINT:
            number, position = _varint(data, position)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_LONG, _SHORT):
            size = 8 if kind == _LONG else 4
        else:
            raise StatusError(f"unknown wire type {kind}")
        if position + size > len(data):
            raise StatusError("a field is cut short")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise StatusError("a number is cut short")


def _whole(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise StatusError("a number where there should be a message")
    return value


def _text(found: dict[int, list[Value]], number: int) -> str:
    return _whole(found.get(number, [b""])[-1]).decode("utf-8", "replace")


def _moment(found: dict[int, list[Value]], number: int) -> float | None:
    """A google.protobuf.Timestamp in seconds since the epoch."""
    if number not in found:
        return None
    parts = _by_number(_whole(found[number][-1]))
    seconds, nanos = (parts.get(it, [0])[-1] for it in (1, 2))
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        raise StatusError("not a moment")
    return seconds + nanos * _NANO
