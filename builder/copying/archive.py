"""Local archives that ADD unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

A file is an archive when its first tar entry can be read, whatever its name; an archive without
entries is an ordinary file. Contents stay in the archive: each file remembers where its bytes are
in a spooled, decompressed copy.
"""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from builder.sources.compressed import decompressed
from images.errors import ImagesError
from images.layers import entry as kinds
from images.layers.tar_read import read_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from builder.copying.tree import SourceTree
    from builder.sources.compressed import Readable
    from images.layers.entry import Entry
    from images.layers.merged import Node
    from images.layers.tar_read import Body

_PIECE: Final = 1 << 20


def is_archive(tree: SourceTree, node: Node) -> bool:
    """Whether a regular file holds a tar archive with at least one entry."""
    try:
        with _decompressed(tree, node) as stream:
            return next(iter(read_tar(stream, clamp=True)), None) is not None
    except ImagesError:
        return False


def archive_entries(tree: SourceTree, node: Node) -> Iterator[Entry]:
    """The entries of an archive, in its order; ``..`` stops at the root.

    Raises:
        ImagesError: malformed or truncated, or beyond the limits of one layer.
    """
    spool = _Spool()
    with _decompressed(tree, node) as stream:
        for entry, body in read_tar(stream, clamp=True):
            if entry.kind == kinds.FILE:
                yield entry.read_from(spool.keep(body))
            else:
                yield entry


@contextmanager
def _decompressed(tree: SourceTree, node: Node) -> Iterator[Readable]:
    """The tar bytes of a file, by the magic numbers it begins with."""
    with (
        tree.open(node) as raw,
        io.BufferedReader(cast("io.RawIOBase", raw), 1 << 16) as file,
        decompressed(file, f"/{node.path}") as stream,
    ):
        yield stream


class _Spool:
    """File contents, one after the other, in a temporary file without a name."""

    def __init__(self) -> None:
        self.fd = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._end = 0
        weakref.finalize(self, os.close, self.fd)

    def keep(self, body: Body) -> Callable[[], BinaryIO]:
        """Store a body and return what opens it."""
        start = self._end
        while piece := body.read(_PIECE):
            view = memoryview(piece)
            while view:
                written = os.pwrite(self.fd, view, self._end)
                self._end += written
                view = view[written:]
        end = self._end
        return lambda: cast("BinaryIO", _Slice(self, start, end))


class _Slice(io.RawIOBase):
    """A part of a spool as a file of its own; any number may be read at the same time."""

    def __init__(self, spool: _Spool, start: int, end: int) -> None:
        self._spool = spool
        self._position = start
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        count = os.preadv(self._spool.fd, [view], self._position) if view else 0
        self._position += count
        return count
