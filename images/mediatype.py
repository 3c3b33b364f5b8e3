"""Media types of manifests, configs and layers.

OCI image specification, media-types.md; Docker image manifest v2 schema 2.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_FOREIGN_LAYER_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCTET_STREAM: Final = "application/octet-stream"

MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
FOREIGN_LAYERS: Final = frozenset(
    {DOCKER_FOREIGN_LAYER_GZIP, OCI_FOREIGN_LAYER, OCI_FOREIGN_LAYER_GZIP}
)
"""Layers that may be kept outside of registries, where their descriptors have URLs."""
ACCEPT_MANIFESTS: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""What a client asks for, best first."""

_COMPRESSION: Final = {
    OCI_LAYER: "none",
    OCI_FOREIGN_LAYER: "none",
    DOCKER_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_FOREIGN_LAYER_GZIP: "gzip",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_FOREIGN_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
}
_DOCKER_FORMS: Final = {
    OCI_LAYER: DOCKER_LAYER,
    OCI_LAYER_GZIP: DOCKER_LAYER_GZIP,
    OCI_FOREIGN_LAYER_GZIP: DOCKER_FOREIGN_LAYER_GZIP,
}
_OCI_FORMS: Final = {docker: oci for oci, docker in _DOCKER_FORMS.items()}


def as_docker(media_type: str) -> str:
    """Docker's name for a layer of this type; itself where Docker has none."""
    return _DOCKER_FORMS.get(media_type, media_type)


def as_oci(media_type: str) -> str:
    """OCI's name for a layer of this type."""
    return _OCI_FORMS.get(media_type, media_type)


def is_index(media_type: str) -> bool:
    """Whether this type is an OCI index or a Docker manifest list."""
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    """Whether this type is an image manifest."""
    return media_type in MANIFESTS


def is_layer(media_type: str) -> bool:
    """Whether this type is a layer that the store can unpack."""
    return media_type in _COMPRESSION


def layer_compression(media_type: str) -> str:
    """``none``, ``gzip`` or ``zstd``; raises ``KeyError`` for a type that is not a layer."""
    return _COMPRESSION[media_type]
