"""What the layers of a built image hold: files, bytes and the largest of them, layer by layer.

Read from the blobs, so it works as long as the image is there, and costs as much as unpacking it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from images.digest import Digest
from images.errors import ImagesError
from images.layers import entry as kinds
from images.layers.compress import Decompressed, sniff
from images.layers.tar_read import read_tar
from images.manifest import Manifest, parse
from records import Record

if TYPE_CHECKING:
    from engine.builds.history.document import Document
    from images.descriptor import Descriptor
    from images.store import ImageStore

LARGEST: Final = 10
"""Files that are named of each layer."""
MAGIC: Final = 4


class LargeFile(Record):
    """A file of a layer, its path in the root, and its bytes."""

    path: str
    size: int


class LayerContents(Record):
    """One layer, bottom first among its image's. ``created_by`` is the history's line for it.

    ``files`` and ``total`` (bytes of regular files) are None where the blob is not in the store.
    """

    digest: str
    size: int
    created_by: str
    platform: str = ""
    files: int | None = None
    total: int | None = None
    largest: tuple[LargeFile, ...] = ()


def contents_of(document: Document, store: ImageStore) -> tuple[LayerContents, ...]:
    """The layers of all images that a build made; those of several images once.

    An image that is gone has none.
    """
    found: dict[str, LayerContents] = {}
    for image in document.get("result", {}).get("images", ()):
        try:
            for layer in _image_layers(Digest.parse(image["digest"]), store):
                found.setdefault(layer.digest, layer)
        except ImagesError:
            # Pruned since, or delivered elsewhere: the record has to do.
            continue
    return tuple(found.values())


def _image_layers(digest: Digest, store: ImageStore) -> list[LayerContents]:
    from images.config import ImageConfig

    manifest = parse(store.blobs.read(digest))
    if not isinstance(manifest, Manifest):
        return []
    config = ImageConfig.parse(store.blobs.read(manifest.config.digest))
    lines = [item.created_by for item in config.history if not item.empty_layer]
    # Images without a history, or with one that does not fit, are allowed.
    lines += [""] * (len(manifest.layers) - len(lines))
    platform = str(config.platform)
    return [
        _layer(blob, line, platform, store)
        for blob, line in zip(manifest.layers, lines, strict=False)
    ]


def _layer(blob: Descriptor, line: str, platform: str, store: ImageStore) -> LayerContents:
    known = LayerContents(str(blob.digest), blob.size, line, platform)
    try:
        files = _files(blob.digest, store)
    except ImagesError:
        return known
    return LayerContents(
        known.digest,
        known.size,
        line,
        platform,
        len(files),
        sum(file.size for file in files),
        tuple(heapq.nlargest(LARGEST, files, key=lambda file: file.size)),
    )


def _files(digest: Digest, store: ImageStore) -> list[LargeFile]:
    with store.blobs.open(digest) as blob:
        kind = sniff(blob.read(MAGIC))
        blob.seek(0)
        return [
            LargeFile(item.path, body.size)
            for item, body in read_tar(Decompressed(blob, kind))
            if item.kind == kinds.FILE
        ]
