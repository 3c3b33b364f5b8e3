"""A stored layer in another compression: the same tar in other bytes, or its entries as eStargz."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, InputError
from images.layers.compress import Decompressed, compressor
from images.layers.estargz import TOC_DIGEST_ANNOTATION, pack_estargz
from images.layers.pack import LAYER_TYPES, InOrder, PackedLayer, pack_layer
from images.layers.tar_body import with_bodies
from images.layers.tar_read import read_tar
from images.mediatype import is_layer, layer_compression

if TYPE_CHECKING:
    from collections.abc import Iterable

    from images.blobs import BlobStore
    from images.layers.entry import Entry

KINDS: Final = {"gzip": "gzip", "zstd": "zstd", "estargz": "estargz", "uncompressed": "none"}
"""BuildKit's names of compressions, and ours."""


def is_packed(layer: Descriptor, compression: str) -> bool:
    """Whether a layer has this compression already, at whatever level."""
    estargz = TOC_DIGEST_ANNOTATION in layer.annotations
    if compression == "estargz" or estargz:
        return estargz and compression == "estargz"
    return layer_compression(layer.media_type) == KINDS[compression]


def convert_layer(
    layer: Descriptor,
    diff_id: Digest,
    blobs: BlobStore,
    *,
    compression: str,
    level: int | None = None,
) -> PackedLayer:
    """Pack a stored layer anew; eStargz has another diff id, the other forms keep it.

    Raises:
        DigestMismatchError: the layer is not what its config says.
        InputError: the descriptor's type is not one of a layer.
    """
    if not is_layer(layer.media_type):
        raise InputError(f"{layer.media_type} is no layer", where=str(layer.digest))
    with blobs.open(layer.digest) as file:
        plain = Decompressed(file, layer_compression(layer.media_type))
        if compression == "estargz":
            return pack_estargz(with_bodies(read_tar(plain)), blobs, level=level)
        return _recompress(plain, diff_id, blobs, KINDS[compression], level)


def pack_entries(
    entries: Iterable[Entry], blobs: BlobStore, *, compression: str, level: int | None = None
) -> PackedLayer:
    """Entries as a layer in any of BuildKit's compressions; raises as ``pack_layer``."""
    if compression == "estargz":
        return pack_estargz(entries, blobs, level=level)
    return pack_layer(entries, blobs, compression=KINDS[compression], level=level)


def _recompress(
    plain: Decompressed, diff_id: Digest, blobs: BlobStore, kind: str, level: int | None
) -> PackedLayer:
    hasher = hashlib.new(diff_id.algorithm)
    length = 0
    with blobs.writer() as writer, InOrder(hasher.update) as hashing:
        stream = compressor(kind, writer.write, level=level)
        try:
            while piece := plain.read():
                hashing.put(piece)
                stream.write(piece)
                length += len(piece)
            stream.close()
        except BaseException:
            stream.abort()
            raise
        hashing.finish()
        found = Digest.from_hash(hasher)
        if found != diff_id:
            raise DigestMismatchError(
                f"the layer unpacks to {found}", where=str(diff_id), fix="pull the image again"
            )
        size = writer.written
        digest = writer.commit()
    return PackedLayer(diff_id, Descriptor(LAYER_TYPES[kind], digest, size), length)
