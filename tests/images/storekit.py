"""Images for the tests of the store, made of entries."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from images.config import ImageConfig
from images.digest import Digest
from images.layers.entry import Entry
from images.layers.pack import PackedLayer, pack_layer
from images.manifest import Index, Manifest
from images.platform import Platform
from images.reference import Reference
from images.store import ImageStore

HOUR = 3600.0


def put_layer(store: ImageStore, *entries: Entry, compression: str = "gzip") -> PackedLayer:
    layer = pack_layer(entries, store.blobs, compression=compression)
    store.record_layer(layer)
    return layer


def put_image(
    store: ImageStore,
    layers: Sequence[PackedLayer],
    *,
    platform: Platform | None = None,
    label: str = "",
) -> Manifest:
    """Config and manifest into the blob store; nothing is named yet."""
    config = ImageConfig.build(
        platform or Platform.host(),
        [layer.diff_id for layer in layers],
        config={"Labels": {"label": label}},
    )
    store.blobs.put(config.raw)
    manifest = Manifest.build(config.descriptor(), [layer.descriptor for layer in layers])
    store.blobs.put(manifest.raw)
    return manifest


def put_index(store: ImageStore, manifests: dict[str, Manifest]) -> Index:
    from dataclasses import replace

    index = Index.build(
        [replace(m.descriptor, platform=Platform.parse(p)) for p, m in manifests.items()]
    )
    store.blobs.put(index.raw)
    return index


def ref(text: str) -> Reference:
    return Reference.parse(text)


def age(store: ImageStore, *digests: Digest, seconds: float = HOUR) -> None:
    """Let blobs (all of them by default) and unpacked layers look old."""
    then = time.time() - seconds
    for digest in digests or list(store.blobs.digests()):
        if store.blobs.size(digest) is not None:
            os.utime(store.blobs.path(digest), (then, then))
    for snapshot_id in store.snapshots.ids():
        if not digests or snapshot_id in {d.hex for d in digests}:
            os.utime(store.root / "snapshots" / snapshot_id, (then, then))
