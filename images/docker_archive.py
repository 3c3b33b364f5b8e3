"""``manifest.json``: the archive format of ``docker save``, read and written.

Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format". Its images
have no manifest of their own, so one is built; their layers are checked against the config.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError, InvalidArchiveError
from images.layers.compress import Decompressed
from images.manifest import Manifest
from images.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from images.oci_layout import blob_path
from images.reference import Reference

if TYPE_CHECKING:
    from images.archive_input import Member, Members
    from images.blobs import BlobStore

MANIFEST_FILE: Final = "manifest.json"
LIMIT: Final = 4 << 20
IMAGES: Final = 10_000
LAYERS: Final = 10_000
_TYPES: Final = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One image of ``manifest.json`` whose layers were found and checked."""

    references: tuple[Reference, ...]
    config: ImageConfig
    layers: tuple[Descriptor, ...]

    @property
    def manifest(self) -> Manifest:
        """The manifest that the archive does not have."""
        return Manifest.build(self.config.descriptor(), self.layers)


def find_images(members: Members, blobs: BlobStore) -> list[DockerImage]:
    """Every image of the archive; its layers are committed to ``blobs`` on the way.

    Raises:
        InvalidArchiveError: not such an archive, or incomplete.
        DigestMismatchError: a layer is not what the config says.
    """
    items = _items(members)
    configs = [_config(members, _text(item, "Config")) for item in items]
    # All names and numbers first: what is committed should be worth it.
    plans = [
        (_references(item), config, _layer_names(item, config))
        for item, config in zip(items, configs, strict=True)
    ]
    for _, _, names in plans:
        for name in names:
            members.get(name)
    return [
        DockerImage(
            references,
            config,
            tuple(
                _layer(members, blobs, name, diff_id)
                for name, diff_id in zip(names, config.diff_ids, strict=True)
            ),
        )
        for references, config, names in plans
    ]


def manifest_for(images: Iterable[tuple[Manifest, Sequence[Reference]]]) -> bytes:
    """The ``manifest.json`` that lists images whose blobs lie in an OCI layout beside it."""
    items = [
        {
            "Config": blob_path(document.config.digest),
            "RepoTags": [reference.familiar for reference in references] or None,
            "Layers": [blob_path(layer.digest) for layer in document.layers],
        }
        for document, references in images
    ]
    return json.dumps(items, separators=(",", ":")).encode()


def _items(members: Members) -> list[dict[str, Any]]:
    if MANIFEST_FILE not in members:
        raise InvalidArchiveError(
            "this is not an image archive: neither manifest.json nor index.json is in it",
            fix="archives of `docker save` and OCI archives can be loaded; "
            "for a root filesystem use `lading import`",
        )
    try:
        items = json.loads(members.text(MANIFEST_FILE, limit=LIMIT))
    except (ValueError, RecursionError) as error:
        raise InvalidArchiveError(f"not JSON: {error}", where=MANIFEST_FILE) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidArchiveError("not a list of images", where=MANIFEST_FILE)
    if not 0 < len(items) <= IMAGES:
        raise InvalidArchiveError(f"{len(items)} images", where=MANIFEST_FILE)
    return items


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidArchiveError(f"an image without {key}", where=MANIFEST_FILE)
    return value


def _texts(item: dict[str, Any], key: str) -> list[str]:
    values = item.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidArchiveError(f"{key} is not a list of strings", where=MANIFEST_FILE)
    return values


def _references(item: dict[str, Any]) -> tuple[Reference, ...]:
    try:
        return tuple(Reference.parse(name) for name in _texts(item, "RepoTags"))
    except ImagesError as error:
        error.where = MANIFEST_FILE
        raise


def _config(members: Members, name: str) -> ImageConfig:
    try:
        return ImageConfig.parse(members.text(name, limit=LIMIT))
    except ImagesError as error:
        error.where = error.where or name
        raise


def _layer_names(item: dict[str, Any], config: ImageConfig) -> list[str]:
    names = _texts(item, "Layers")
    if len(names) != len(config.diff_ids) or len(names) > LAYERS:
        raise InvalidArchiveError(
            f"{len(names)} layers are listed, the config has {len(config.diff_ids)}",
            where=MANIFEST_FILE,
        )
    return names


def _layer(members: Members, blobs: BlobStore, name: str, diff_id: Digest) -> Descriptor:
    """Keep a layer, once its plain bytes are known to be the ones of the config."""
    member = members.get(name)
    if diff_id.algorithm != member.digest.algorithm or member.digest != diff_id:
        kept = members.commit(member)
        plain = _plain_digest(blobs, kept, member, diff_id.algorithm)
        if plain != diff_id:
            raise DigestMismatchError(
                f"the layer hashes to {plain}, the config says {diff_id}",
                where=name,
                fix="the archive is damaged or was tampered with; nothing was loaded",
            )
    kept = members.commit(member)
    return Descriptor(_TYPES[member.compression], kept, member.kept_size)


def _plain_digest(blobs: BlobStore, kept: Digest, member: Member, algorithm: str) -> Digest:
    import hashlib

    hasher = hashlib.new(algorithm)
    with blobs.open(kept) as file:
        plain = Decompressed(file, member.compression)
        while piece := plain.read():
            hasher.update(piece)
    return Digest.from_hash(hasher)
