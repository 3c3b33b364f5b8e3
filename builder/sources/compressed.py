"""Archives as they come, told by the bytes they begin with: plain, gzip, bzip2, xz or zstd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from images.errors import InvalidArchiveError
from images.layers.compress import Decompressed, sniff

if TYPE_CHECKING:
    import io
    from typing import Any

_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\x00"
MAGIC_SIZE: Final = 6
"""Bytes that tell the kind."""


class Readable(Protocol):
    """Gives at most so many bytes, none at the end alone."""

    def read(self, size: int, /) -> bytes | memoryview:
        """Read."""


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins like this is compressed."""
    return start.startswith((_BZIP2, _XZ)) or sniff(start[:4]) != "none"


@contextmanager
def decompressed(file: io.BufferedReader[Any], where: str) -> Iterator[Readable]:
    """The bytes of a file as they were before they were compressed; ``where`` is its name.

    Raises:
        InvalidArchiveError: damaged.
    """
    start = file.peek(MAGIC_SIZE)[:MAGIC_SIZE]
    if start.startswith(_BZIP2):
        import bz2

        with _readable_errors(where, OSError, EOFError), bz2.BZ2File(file) as stream:
            yield _Piecewise(stream.read1)
    elif start.startswith(_XZ):
        import lzma

        with _readable_errors(where, lzma.LZMAError, EOFError), lzma.LZMAFile(file) as stream:
            yield _Piecewise(stream.read1)
    else:
        yield Decompressed(cast("BinaryIO", file), sniff(start[:4]))


class _Piecewise:
    """Gives what could be decompressed before it reports damage behind it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int, /) -> bytes:
        return self._read(size)


@contextmanager
def _readable_errors(where: str, *kinds_of_damage: type[Exception]) -> Iterator[None]:
    """Name the archive where a decompressor of the standard library gives up."""
    try:
        yield
    except kinds_of_damage as error:
        raise InvalidArchiveError(f"the archive is damaged: {error}", where=where) from error
