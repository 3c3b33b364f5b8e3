"""Archives as contexts: unpacked once, under the digest of their bytes, and never outside.

An archive from elsewhere is hostile until it is proven tame. The confined extractor of layers does
the work (``images.layers.unpack``: openat2 below a descriptor, ``..`` refused, limits); what only a
layer may hold, whiteouts and devices, is refused here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from builder.errors import BuildInputError
from builder.sources.compressed import MAGIC_SIZE, decompressed, is_compressed
from builder.sources.shelf import TREES, Shelf
from images.errors import ImagesError, InvalidArchiveError
from images.layers import entry as kinds
from images.layers.entry import WHITEOUT_PREFIX
from images.layers.tar_read import Limits, read_tar
from images.layers.unpack import unpack

if TYPE_CHECKING:
    from builder.sources.compressed import Readable
    from images.layers.entry import Entry

LIMITS: Final = Limits(entries=2_000_000, total_size=64 << 30, file_size=64 << 30)
"""What a context may hold; sizes in bytes."""
TRAILER: Final = 64 << 20
"""Bytes that may follow the end of an archive: padding."""
_PIECE: Final = 1 << 20
_DEVICES: Final = frozenset({kinds.CHARACTER, kinds.BLOCK})


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, compressed or not; anything else is text."""
    with path.open("rb") as file:
        if is_compressed(file.peek(MAGIC_SIZE)[:MAGIC_SIZE]):
            return True
        try:
            return next(iter(read_tar(file, clamp=True)), None) is not None
        except ImagesError:
            return False


def spool(stream: BinaryIO, path: Path, *, limit: int) -> str:
    """Write a stream to ``path``; returns the SHA-256 of its bytes in hex.

    Raises:
        BuildInputError: longer than ``limit`` bytes.
    """
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise BuildInputError(f"the context is longer than {limit >> 30} GiB")
            hasher.update(piece)
            file.write(piece)
    return hasher.hexdigest()


@contextmanager
def unpacked(
    archive: Path,
    digest: str,
    state: Path,
    *,
    name: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Path]:
    """The directory of an archive whose bytes have ``digest``; it stays for the block.

    ``state`` is the builder's directory, ``name`` is how messages and listings call the archive.

    Raises:
        InvalidArchiveError, SizeLimitError: damaged, hostile or beyond the limits.
        BuildEnvironmentError: the store is not writable.
    """

    def fill(tree: Path) -> None:
        with (
            archive.open("rb") as raw,
            io.BufferedReader(cast("io.RawIOBase", raw), _PIECE) as file,
            decompressed(file, name) as stream,
        ):
            unpack(stream, tree, limits=LIMITS, check=lambda entry: _check(entry, name))
            _finish(stream, name)

    with Shelf(state / TREES, cancelled).item(f"archive\0{digest}", name, fill) as tree:
        yield tree


def _finish(stream: Readable, name: str) -> None:
    """Read what is behind the last entry: a checksum of the compression is at the very end."""
    left = TRAILER
    while piece := stream.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise InvalidArchiveError("there is too much behind its end", where=name)


def _check(entry: Entry, name: str) -> None:
    if entry.kind in _DEVICES:
        raise InvalidArchiveError(
            f"{name} holds a device, which is no file to build from", where=entry.path
        )
    if WHITEOUT_PREFIX in entry.path and any(
        part.startswith(WHITEOUT_PREFIX) for part in entry.path.split("/")
    ):
        raise InvalidArchiveError(
            f"{name} holds a whiteout: names that begin with .wh. delete files of layers",
            where=entry.path,
            fix="give the file another name",
        )
