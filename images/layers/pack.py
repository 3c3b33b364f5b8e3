"""Entries to a stored layer in one pass: tar, diff id, compression, digest, staged blob.

Every byte of content is read once and nothing is held but a few blocks. Reading, the tar headers
and both SHA-256 sums run in the caller's thread; compression runs beside it (see
``images.layers.compress``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.layers.compress import compressor
from images.layers.tar_write import write_tar
from images.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from images.blobs import BlobStore
    from images.layers.compress import Bytes
    from images.layers.entry import Entry

LAYER_TYPES: Final = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}


@dataclass(frozen=True, slots=True)
class PackedLayer:
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
) -> PackedLayer:
    """Write ``entries``, in their order, as a layer blob.

    ``media_type`` overrides the OCI type of ``compression``. ``threads`` compress; 0 chooses.

    Raises:
        InputError: a file changed while it was read, or an unknown compression.
        EnvironmentFault: the disk is full or failing; nothing is kept.
    """
    hasher = hashlib.sha256()
    with blobs.writer() as writer:
        stream = compressor(compression, writer.write, threads=threads)

        def take(block: Bytes) -> None:
            hasher.update(block)
            stream.write(block)

        try:
            length = write_tar(entries, take)
            stream.close()
        except BaseException:
            stream.abort()
            raise
        size = writer.written
        digest = writer.commit()
    descriptor = Descriptor(media_type or LAYER_TYPES[compression], digest, size)
    return PackedLayer(Digest.from_hash(hasher), descriptor, length)


def diff_id(entries: Iterable[Entry]) -> tuple[Digest, int]:
    """The digest and length that ``pack_layer`` would give, without storing anything."""
    hasher = hashlib.sha256()
    length = write_tar(entries, hasher.update)
    return Digest.from_hash(hasher), length
