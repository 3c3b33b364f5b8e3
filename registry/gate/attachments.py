"""What a gate lets pass unjudged: signatures, SBOMs and provenance, which nobody can run.

Whoever may push decides what a manifest says, so neither a subject nor a tag of cosign's makes an
image pass. Clients differ in what they look at before they unpack: docker and containerd want known
types of layers, docker and podman a known type of config, podman takes layers of any type for what
they begin with. A manifest passes only if none of them could make a root file system of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG, is_layer

Head = Callable[[Digest], bytes]
"""The first ``BLOCK`` bytes of a blob; raises ``ImagesError`` where there is none."""

BLOCK: Final = 512
"""Bytes of a tar header."""

_COSIGN_TAG: Final = re.compile(r"sha256-[0-9a-f]{64}\.(sig|att|sbom)\Z")
_IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_UNPACKED: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_MOST_LAYERS: Final = 1024
_COMPRESSED: Final = re.compile(
    rb"\x1f\x8b|BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18|\x04\x22\x4d\x18"
)
"""gzip, bzip2, xz, zstd and its skippable frames, lz4."""


def is_attachment(manifest: Manifest, tags: Iterable[str], head: Head) -> bool:
    """Whether ``manifest`` only says something about another one.

    ``tags`` are the tags it is asked for by: the one of the request, or those that point at the
    digest of the request. What cosign keeps under its tags, and BuildKit's attestations, have the
    config of an image, so the beginnings of their layers are looked at as well.
    """
    if manifest.subject is None and not any(map(_COSIGN_TAG.match, tags)):
        return False
    kinds = {layer.media_type for layer in manifest.layers}
    if any(is_layer(kind) or kind.startswith(_UNPACKED) for kind in kinds):
        return False
    if manifest.config.media_type not in _IMAGE_CONFIGS:
        return True
    layers = {layer.digest for layer in manifest.layers}
    if not layers or len(layers) > _MOST_LAYERS:
        return False
    with suppress(ImagesError):
        return not any(can_be_unpacked(head(digest)) for digest in layers)
    return False


def can_be_unpacked(head: bytes) -> bool:
    """Whether content that begins so could be a layer: compressed, or a tar archive.

    The checksum of a tar header is over the header with blanks in the checksum's place (POSIX.1,
    pax, "ustar Interchange Format"); old programs added up signed characters.
    """
    if _COMPRESSED.match(head):
        return True
    if len(head) < BLOCK:
        return False
    stated = re.match(rb"[ \0]*([0-7]+)[ \0]*\Z", head[148:156])
    header = head[:148] + b" " * 8 + head[156:BLOCK]
    unsigned = sum(header)
    signed = unsigned - 256 * sum(byte > 127 for byte in header)
    return stated is not None and int(stated[1], 8) in (unsigned, signed)
