"""Entries to a stored layer in one pass: tar, diff id, compression, digest, staged blob.

Every byte of content is read once and nothing is held but a few blocks. Reading, the tar headers
and the digest of what is stored run in the caller's thread; the diff id (for more than one block)
and compression (see ``images.layers.compress``) run beside it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from images.descriptor import Descriptor
from images.digest import Digest
from images.layers.compress import compressor
from images.layers.tar_write import write_tar
from images.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from queue import Queue
    from threading import Thread

    from images.blobs import BlobStore
    from images.layers.compress import Bytes
    from images.layers.entry import Entry

LAYER_TYPES: Final = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}

_AHEAD: Final = 4
"""Blocks of 1 MiB that wait for the hash."""


class PackedLayer(Record):
    """A layer in the store: the digest of its tar, where it is, and its length as tar in bytes."""

    diff_id: Digest
    descriptor: Descriptor
    uncompressed_size: int


def pack_layer(
    entries: Iterable[Entry],
    blobs: BlobStore,
    *,
    compression: str = "gzip",
    media_type: str | None = None,
    threads: int = 0,
    level: int | None = None,
) -> PackedLayer:
    """Write ``entries``, in their order, as a layer blob.

    ``media_type`` overrides the OCI type of ``compression``. ``threads`` compress; 0 chooses.
    ``level`` is the compressor's, None for ours.

    Raises:
        InputError: a file changed while it was read, or an unknown compression.
        EnvironmentFault: the disk is full or failing; nothing is kept.
    """
    hasher = hashlib.sha256()
    with blobs.writer() as writer, InOrder(hasher.update) as hashing:
        stream = compressor(compression, writer.write, threads=threads, level=level)

        def take(block: Bytes) -> None:
            hashing.put(block)
            stream.write(block)

        try:
            length = write_tar(entries, take)
            stream.close()
        except BaseException:
            stream.abort()
            raise
        hashing.finish()
        size = writer.written
        digest = writer.commit()
    descriptor = Descriptor(media_type or LAYER_TYPES[compression], digest, size)
    return PackedLayer(Digest.from_hash(hasher), descriptor, length)


class InOrder:
    """Calls a function with one block after the other: the first at the end, the others by a thread
    that stays at most ``_AHEAD`` blocks behind.
    """

    def __init__(self, call: Callable[[Bytes], object]) -> None:
        self._call = call
        self._first: Bytes | None = None
        self._thread: Thread | None = None
        self._blocks: Queue[Bytes | None]

    def put(self, block: Bytes) -> None:
        """Take a block, which must not change afterwards."""
        if self._thread is None:
            if self._first is None:
                self._first = block
                return
            self._start(self._first)
        self._blocks.put(block)

    def finish(self) -> None:
        """Return when the function has seen every block."""
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None
        elif self._first is not None:
            # Most layers fit in one block, and a thread costs more than it brings for those.
            self._call(self._first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.finish()

    def _start(self, first: Bytes) -> None:
        from queue import Queue
        from threading import Thread

        self._blocks = Queue(_AHEAD)
        self._blocks.put(first)
        self._thread = Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._call(block)


def diff_id(entries: Iterable[Entry]) -> tuple[Digest, int]:
    """The digest and length that ``pack_layer`` would give, without storing anything."""
    hasher = hashlib.sha256()
    length = write_tar(entries, hasher.update)
    return Digest.from_hash(hasher), length
