"""An image in the form that an output asks for: layers merged or in another compression, Docker's
media types, annotations.

Steps keep their layers whatever an output wants of them. What is made here is remembered in the
build cache by what it was made of, so that it is made once. Equal images give equal bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from builder.keys import key_of
from builder.solver.records import StoredLayer, decode_layers, encode_layers
from builder.storage import CacheTable, state_directory
from engine.builds.delivery.outputs import OutputError
from images import strictjson
from images.config import ImageConfig
from images.layers.compress import Decompressed
from images.layers.convert import convert_layer, is_packed, pack_entries
from images.layers.merge import LayerMerge
from images.layers.tar_body import with_bodies
from images.layers.tar_read import read_tar
from images.manifest import Manifest
from images.mediatype import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_ZSTD,
    as_docker,
    as_oci,
    layer_compression,
)
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from builder.progress.tracker import Tracker
    from builder.request import BuildResult
    from engine.builds.delivery.outputs import Packing
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.layers.pack import PackedLayer
    from images.store import Image, ImageStore

FORMAT: Final = 1
"""Raise it with anything that changes the bytes of merged or converted layers."""
RECORD_KIND: Final = "packed"
AT_ONCE: Final = 2
"""Layers converted at the same time; each compresses with threads of its own."""


class _Layer(Record):
    """A layer of the image in the making."""

    diff_id: Digest
    descriptor: Descriptor
    own: bool
    """Whether the build made it; it is the base's otherwise."""
    ready: bool = False
    """Whether it was made for this packing."""


def pack_image(
    result: BuildResult,
    packing: Packing,
    store: ImageStore,
    tracker: Tracker,
    *,
    annotations: Mapping[str, str] | None = None,
) -> BuildResult:
    """The image in another form, stored and not named; the caller holds a lease.

    ``annotations`` are added to the manifest's.

    Raises:
        OutputError: the form cannot hold what the image has.
        ImagesError: a layer is missing or damaged, or the disk is full.
    """
    image = store.image(result.descriptor)
    base = min(result.base_layers, len(image.manifest.layers))
    layers = [
        _Layer(diff_id, descriptor, number >= base)
        for number, (diff_id, descriptor) in enumerate(
            zip(image.config.diff_ids, image.manifest.layers, strict=True)
        )
    ]
    shop = _Shop(store, tracker)
    history = [entry.to_json() for entry in image.config.history]
    if packing.squash and len(layers) - base > 1:
        merged = shop.merged(layers[base:], packing, alone=base == 0)
        history = squashed_history(history, len(layers) - base, image.config.created)
        layers = [*layers[:base], merged]
    if packing.compression:
        layers = shop.converted(layers, packing)
    config = _config(image, layers, history)
    manifest = _manifest(image, config, layers, packing, annotations or {})
    store.blobs.put(config.raw)
    store.blobs.put(manifest.raw)
    return replace(result, descriptor=manifest.descriptor, image_id=config.digest, base_layers=base)


def packed_layer(
    layer: StoredLayer, packing: Packing, store: ImageStore, tracker: Tracker, *, own: bool
) -> Descriptor:
    """The blob that a layer of an image in this form is; ``own`` layers are those the build made.

    Merging layers is not in it. Raises as ``pack_image``.
    """
    if not packing.compression:
        return layer.descriptor
    made = _Layer(layer.diff_id, layer.descriptor, own)
    return _Shop(store, tracker).converted([made], packing)[0].descriptor


def squashed_history(
    history: Sequence[dict[str, Any]], merged: int, created: str | None
) -> list[dict[str, Any]]:
    """What docker writes: the entries of merged layers are empty ones, and a last one has the
    layer.

    Counted from the end, since a base may come without a history.
    """
    left, result = merged, []
    for entry in reversed(history):
        if left and not entry.get("empty_layer"):
            left -= 1
            entry = {**entry, "empty_layer": True}
        result.append(entry)
    last: dict[str, Any] = {"comment": f"merged {merged} layers"}
    if created is not None:
        last["created"] = created
    return [*reversed(result), last]


class _Shop:
    """Makes layers, or finds them made."""

    def __init__(self, store: ImageStore, tracker: Tracker) -> None:
        self._store = store
        self._tracker = tracker
        self._values = CacheTable(store)

    def merged(self, layers: Sequence[_Layer], packing: Packing, *, alone: bool) -> _Layer:
        """One layer in the place of several; ``alone`` says that there are none below."""
        compression = packing.compression or "gzip"
        key = key_of(
            "merged",
            [
                ("format", FORMAT),
                ("layers", [str(layer.diff_id) for layer in layers]),
                ("compression", compression),
                ("level", packing.level),
                ("alone", alone),
            ],
        )
        made = self._made(
            key,
            f"merging {len(layers)} layers",
            lambda: self._merge(layers, compression, packing.level, alone=alone),
        )
        return _Layer(made.diff_id, made.descriptor, own=True, ready=True)

    def converted(self, layers: Sequence[_Layer], packing: Packing) -> list[_Layer]:
        """Every layer that the packing concerns in its compression."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="convert") as pool:
            return list(pool.map(lambda layer: self._converted(layer, packing), layers))

    def _converted(self, layer: _Layer, packing: Packing) -> _Layer:
        descriptor = layer.descriptor
        if not _concerns(packing, layer):
            return layer
        key = key_of(
            "converted",
            [
                ("format", FORMAT),
                ("layer", str(descriptor.digest)),
                ("compression", packing.compression),
                ("level", packing.level),
            ],
        )
        made = self._made(
            key,
            f"converting layer {descriptor.digest.hex[:12]} to {packing.compression}",
            lambda: convert_layer(
                descriptor,
                layer.diff_id,
                self._store.blobs,
                compression=packing.compression,
                level=packing.level,
            ),
        )
        return _Layer(made.diff_id, made.descriptor, layer.own)

    def _made(self, key: bytes, name: str, make: Callable[[], PackedLayer]) -> StoredLayer:
        found = self._found(key)
        if found is not None:
            self._tracker.cached(name)
            return found
        with self._tracker.start(name):
            packed = make()
            layer = StoredLayer(packed.diff_id, packed.descriptor)
            digests = [layer.descriptor.digest]
            self._values.put(key, RECORD_KIND, encode_layers([layer], name), digests)
        return layer

    def _found(self, key: bytes) -> StoredLayer | None:
        raw = self._values.get(key)
        layers = None if raw is None else decode_layers(raw)
        if not layers or not self._store.blobs.has(layers[0].descriptor.digest):
            return None
        return layers[0]

    def _merge(
        self, layers: Sequence[_Layer], compression: str, level: int | None, *, alone: bool
    ) -> PackedLayer:
        with scratch_file(self._store) as scratch:
            merge = LayerMerge(scratch.fileno())
            add_layers(merge, [layer.descriptor for layer in layers], self._store)
            entries = merge.entries(flat=alone)
            return pack_entries(entries, self._store.blobs, compression=compression, level=level)


def _concerns(packing: Packing, layer: _Layer) -> bool:
    """Whether a layer is to be packed anew."""
    if layer.descriptor.urls or not (layer.own or packing.force):
        return False
    if not is_packed(layer.descriptor, packing.compression):
        return True
    # A level is asked of what the build makes; bytes that others made stay as they are.
    return packing.level is not None and layer.own and not layer.ready


def scratch_file(store: ImageStore) -> AbstractContextManager[Any]:
    """A file without a name on the store's disk."""
    directory = state_directory(store)
    directory.mkdir(parents=True, exist_ok=True)
    import tempfile

    return tempfile.TemporaryFile(dir=directory, buffering=0)


def add_layers(merge: LayerMerge, layers: Sequence[Descriptor], store: ImageStore) -> None:
    """Apply stored layers, lowest first.

    Raises:
        ImagesError: a layer is missing, damaged or malformed.
    """
    for layer in layers:
        with store.blobs.open(layer.digest) as file:
            plain = Decompressed(file, layer_compression(layer.media_type))
            merge.apply(with_bodies(read_tar(plain)))


def _config(
    image: Image, layers: Sequence[_Layer], history: Sequence[dict[str, Any]]
) -> ImageConfig:
    diff_ids = [layer.diff_id for layer in layers]
    if tuple(diff_ids) == image.config.diff_ids:
        return image.config
    document = image.config.to_json()
    document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]}
    document["history"] = list(history)
    return ImageConfig.parse(strictjson.dumps(document))


def _manifest(
    image: Image,
    config: ImageConfig,
    layers: Sequence[_Layer],
    packing: Packing,
    annotations: Mapping[str, str],
) -> Manifest:
    annotations = {**image.manifest.annotations, **annotations}
    descriptors = [layer.descriptor for layer in layers]
    if not packing.docker_types:
        typed = [replace(one, media_type=as_oci(one.media_type)) for one in descriptors]
        return Manifest.build(config.descriptor(OCI_CONFIG), typed, annotations=annotations)
    if annotations:
        raise OutputError(
            "Docker's media types have no annotations",
            where="--annotation",
            fix="leave the annotations out, or ask for oci-mediatypes=true",
        )
    strange = next((one for one in descriptors if one.media_type == OCI_LAYER_ZSTD), None)
    if strange is not None:
        raise OutputError(
            f"layer {strange.digest} is zstd, which Docker's media types do not know",
            where="--output",
            fix="add compression=gzip,force-compression=true, or ask for oci-mediatypes=true",
        )
    typed = [replace(one, media_type=as_docker(one.media_type)) for one in descriptors]
    return Manifest.build(config.descriptor(DOCKER_CONFIG), typed, media_type=DOCKER_MANIFEST)
