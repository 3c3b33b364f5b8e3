"""Consistency of a store: what is damaged, where, and what to do about it. Nothing is changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from images.digest import HEX_LENGTHS, Digest
from images.errors import ImagesError
from images.manifest import Index, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images.descriptor import Descriptor
    from images.store import ImageStore

_READ_SIZE: Final = 1 << 20
_PULL: Final = "pull or build the image again"
_COLLECT: Final = "run `lading system prune`"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: ``what`` in one sentence, ``where`` it is, ``fix`` how to mend it."""

    what: str
    where: str
    fix: str


def check(store: ImageStore, *, rehash: bool = False) -> list[Problem]:
    """Everything found wrong with ``store``; ``rehash`` reads and hashes every blob."""
    damaged = [
        Problem(text, str(store.db.path), "restore it from a backup, or move it aside")
        for text in store.db.integrity_problems()
    ]
    if damaged:
        return damaged
    return [
        *_names(store),
        *_images(store),
        *_layers(store),
        *_cache(store),
        *_blobs(store, rehash=rehash),
        *_leftovers(store),
        *_snapshots(store),
    ]


def _names(store: ImageStore) -> Iterator[Problem]:
    for reference, descriptor in store.names():
        if store.blobs.size(descriptor.digest) is None:
            yield Problem(
                f"the name stands for {descriptor.digest}, which is missing",
                reference.familiar,
                f"{_PULL}, or remove the name",
            )


def _images(store: ImageStore) -> Iterator[Problem]:
    for image in store.images():
        label = image.names[0].familiar if image.names else str(image.image_id)
        if store.blobs.size(image.descriptor.digest) is None:
            if not image.names:
                yield Problem("the manifest is missing", label, f"{_PULL}, or remove it")
            continue
        yield from _document(store, image.descriptor, label, set())


def _document(
    store: ImageStore, descriptor: Descriptor, label: str, seen: set[Digest]
) -> Iterator[Problem]:
    """Problems below a manifest or index that is there; other platforms may be absent."""
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    try:
        document = parse(store.blobs.read(descriptor.digest), descriptor.media_type)
    except ImagesError as error:
        yield Problem(str(error), label, error.fix or _PULL)
        return
    if isinstance(document, Index):
        for manifest in document.manifests:
            if store.blobs.size(manifest.digest) is not None:
                yield from _document(store, manifest, label, seen)
        return
    for what, part in [("config", document.config), *(("layer", p) for p in document.layers)]:
        size = store.blobs.size(part.digest)
        if size is None:
            yield Problem(f"{what} {part.digest} is missing", label, _PULL)
        elif size != part.size:
            yield Problem(
                f"{what} {part.digest} has {size} bytes instead of {part.size}", label, _PULL
            )


def _layers(store: ImageStore) -> Iterator[Problem]:
    for diff_id, digest in store.db.execute("SELECT diff_id, digest FROM layers"):
        if store.blobs.size(Digest.parse(digest)) is None:
            yield Problem(f"the layer's blob {digest} is missing", diff_id, _COLLECT)


def _cache(store: ImageStore) -> Iterator[Problem]:
    for row in store.cache.rows():
        for digest in row.digests:
            unpacked = store.snapshots.is_valid(digest.hex)
            if not unpacked and store.blobs.size(digest) is None:
                yield Problem(
                    f"cached {row.kind} needs {digest}, which is missing",
                    f"cache {row.key.hex()}",
                    "run `lading builder prune`; the step will run again",
                )


def _blobs(store: ImageStore, *, rehash: bool) -> Iterator[Problem]:
    for algorithm, length in HEX_LENGTHS.items():
        folder = store.root / "blobs" / algorithm
        if folder.is_dir():
            for name in os.listdir(folder):
                try:
                    Digest(algorithm, name)
                except ImagesError:
                    what = f"the name is not {length} hex digits"
                    yield Problem(what, str(folder / name), "delete the file")
    if rehash:
        for digest in list(store.blobs.digests()):
            if _hash(store, digest) != digest:
                where = str(store.blobs.path(digest))
                yield Problem(f"blob {digest} is damaged", where, f"delete the file; then {_PULL}")


def _hash(store: ImageStore, digest: Digest) -> Digest:
    hasher = digest.hasher()
    with store.blobs.open(digest) as file:
        while data := file.read(_READ_SIZE):
            hasher.update(data)
    return Digest.from_hash(hasher)


def _leftovers(store: ImageStore) -> Iterator[Problem]:
    for path, dead in store.blobs.stages():
        if dead:
            yield Problem("a killed process left a half-written blob", str(path), _COLLECT)
    for path in store.snapshots.leftovers():
        yield Problem("a killed process left a half-unpacked layer", str(path), _COLLECT)


def _snapshots(store: ImageStore) -> Iterator[Problem]:
    for snapshot_id in store.snapshots.ids():
        where = str(store.root / "snapshots" / snapshot_id)
        if not store.snapshots.is_valid(snapshot_id):
            yield Problem(
                "the unpacked layer is not sure to be complete, so it is not used",
                where,
                "nothing to do; it is unpacked again when needed",
            )
        elif not os.path.isdir(f"{where}/fs"):
            yield Problem("the unpacked layer has no content", where, "delete the folder")
