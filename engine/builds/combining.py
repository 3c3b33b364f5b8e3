"""One index of a build's images and of what is stated about them.

OCI image specification, image-index.md. Statements stand behind the images as BuildKit puts them:
manifests for ``unknown/unknown`` whose annotations say which image they are about, so that whoever
selects by platform never meets them. Equal images give the same bytes.
"""

from __future__ import annotations

from images.digest import Digest
from images.manifest import Index
from images.platform import Platform
from records import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

    from builder.request import BuildResult
    from engine.builds.delivery.annotations import Annotation
    from images.descriptor import Descriptor
    from images.store import ImageStore

REFERENCE_TYPE: Final = "vnd.docker.reference.type"
REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
ATTESTATION: Final = "attestation-manifest"
UNKNOWN: Final = Platform("unknown", "unknown")


def combine(
    images: Sequence[tuple[Platform, BuildResult]],
    store: ImageStore,
    *,
    annotations: Iterable[Annotation] = (),
    attestations: Mapping[Digest, Descriptor] | None = None,
) -> Descriptor:
    """Write the index of ``images``, in their order, into the store; returns what points to it.

    ``attestations`` are manifests in the store by the digest of the image they are about. Of the
    ``annotations`` those at the levels of the index and of its descriptors are taken. Nothing is
    named; the caller holds a lease.

    Raises:
        ImagesError: an image is not in the store, or the disk is full.
    """
    index_annotations: dict[str, str] = {}
    entries = []
    for platform, image in images:
        entries.append(replace(image.descriptor, platform=_shown(platform, image, store)))
    if annotations:
        from engine.builds.delivery.annotations import INDEX, MANIFEST_DESCRIPTOR, annotations_of

        annotations = tuple(annotations)
        index_annotations = annotations_of(annotations, INDEX)
        entries = [
            replace(entry, annotations=annotations_of(annotations, MANIFEST_DESCRIPTOR, platform))
            for entry, (platform, _) in zip(entries, images, strict=True)
        ]
    entries += [
        attestation_entry(subject, manifest) for subject, manifest in (attestations or {}).items()
    ]
    index = Index.build(entries, annotations=index_annotations)
    store.blobs.put(index.raw)
    return index.descriptor


def attestation_entry(subject: Digest, manifest: Descriptor) -> Descriptor:
    """How an index lists the manifest of the statements about the image ``subject``."""
    return replace(
        manifest,
        platform=UNKNOWN,
        annotations={REFERENCE_TYPE: ATTESTATION, REFERENCE_DIGEST: str(subject)},
    )


def _shown(platform: Platform, image: BuildResult, store: ImageStore) -> Platform:
    """What was asked for; version and features of the system where only the image knows them."""
    found = store.image(image.descriptor).config.platform
    return platform.on_system(found.os_version, found.os_features)
