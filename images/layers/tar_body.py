"""Archive members in the shape of files, so that entries read from a tar can be written again."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from images.layers import entry as kinds
from images.layers.compress import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from images.layers.entry import Entry
    from images.layers.tar_read import Body


def with_bodies(items: Iterable[tuple[Entry, Body]]) -> Iterator[Entry]:
    """Entries of ``read_tar`` that carry their content.

    Each must be read, once, before the next one is asked for.
    """
    for found, body in items:
        if found.kind == kinds.FILE:
            yield found.read_from(partial(_open, body))
        else:
            yield found


def _open(body: Body) -> BinaryIO:
    return cast("BinaryIO", _BodyFile(body))


class _BodyFile(io.RawIOBase):
    def __init__(self, body: Body) -> None:
        self._pieces = _pieces(body)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = next(self._pieces, self._rest)
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _pieces(body: Body) -> Iterator[memoryview]:
    """The content in order; only a sparse member needs its holes filled."""
    if body.segments == [(0, body.size)]:
        return (piece for _, piece in body.pieces())
    return map(memoryview, iter(partial(body.read, BLOCK), b""))
