"""Statements as manifests: beside the image in its index, or as referrers of it.

In the index, BuildKit's way: one manifest for all statements about an image, with the config of an
image for ``unknown/unknown`` whose layers are the statements. As referrers, OCI 1.1's way: a
manifest for each statement, with the image as its subject, so that they are found by type without
an index. Both put the type of the predicate into annotations. Nothing in either has a date.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from engine.attestations.statement import MEDIA_TYPE, Statement
from engine.builds.combining import ATTESTATION, REFERENCE_DIGEST, REFERENCE_TYPE, UNKNOWN
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Index, Manifest
from images.mediatype import OCI_EMPTY
from records import Record, replace
from trust.bundle import BUNDLE as SIGSTORE_BUNDLE
from trust.bundle import COSIGN_SIGN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from images.platform import Platform
    from images.store import ImageStore

PREDICATE: Final = "in-toto.io/predicate-type"
_EMPTY: Final = b"{}"

INDEX, REFERRER, BUNDLE = "index", "referrer", "bundle"
BUNDLE_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
"""Where a bundle's manifest says what is stated in it."""


class Attached(Record):
    """A statement that is attached to an image: where it is, not yet what it says.

    ``blob`` points to the statement, ``manifest`` to what holds it, ``subject`` to the image;
    ``form`` is ``index``, ``referrer``, or ``bundle`` for one in a signed envelope.
    """

    predicate_type: str
    blob: Descriptor
    manifest: Digest
    subject: Digest
    form: str
    platform: Platform | None = None


def put_manifest(statements: Sequence[Statement], store: ImageStore) -> Descriptor:
    """Store the statements about one image as the manifest that its index lists beside it.

    Raises:
        ImagesError: the disk is full.
    """
    layers = [_put(statement, store) for statement in statements]
    config = ImageConfig.build(UNKNOWN, [layer.digest for layer in layers])
    store.blobs.put(config.raw)
    manifest = Manifest.build(config.descriptor(), layers)
    store.blobs.put(manifest.raw)
    return manifest.descriptor


def put_referrers(
    statements: Sequence[Statement], subject: Descriptor, store: ImageStore
) -> list[Descriptor]:
    """Store each statement as a referrer of the image ``subject``, where pushes will find it.

    It takes the place of an earlier one of its type: that was about another way to the same image.

    Raises:
        ImagesError: the disk is full.
    """
    store.blobs.put(_EMPTY)
    plain = Descriptor(subject.media_type, subject.digest, subject.size)
    found = []
    for statement in statements:
        annotations = {PREDICATE: statement.predicate_type}
        manifest = Manifest.build(
            Descriptor(OCI_EMPTY, Digest.of(_EMPTY), len(_EMPTY)),
            [_put(statement, store)],
            subject=plain,
            artifact_type=MEDIA_TYPE,
            annotations=annotations,
        )
        store.blobs.put(manifest.raw)
        listed = replace(manifest.descriptor, annotations=annotations)
        for earlier in store.referrers(subject.digest):
            ours = earlier.artifact_type == MEDIA_TYPE and earlier.digest != listed.digest
            if ours and earlier.annotations.get(PREDICATE) == statement.predicate_type:
                store.unrefer(subject.digest, earlier.digest)
        store.refer(subject.digest, listed)
        found.append(listed)
    return found


def _put(statement: Statement, store: ImageStore) -> Descriptor:
    digest = store.blobs.put(statement.raw)
    annotations = {PREDICATE: statement.predicate_type}
    return Descriptor(MEDIA_TYPE, digest, len(statement.raw), annotations=annotations)


def images_in(root: Manifest | Index, descriptor: Descriptor) -> dict[Digest, Platform | None]:
    """The manifests of images that a name stands for: itself, or those its index lists."""
    if isinstance(root, Manifest):
        return {descriptor.digest: None}
    return {
        child.digest: child.platform
        for child in root.manifests
        if child.annotations.get(REFERENCE_TYPE) != ATTESTATION and child.platform != UNKNOWN
    }


def attestations_in(root: Manifest | Index) -> dict[Digest, Digest]:
    """The manifests of statements in an index, and the image each of them is about."""
    if isinstance(root, Manifest):
        return {}
    return {
        child.digest: Digest.parse(child.annotations[REFERENCE_DIGEST])
        for child in root.manifests
        if child.annotations.get(REFERENCE_TYPE) == ATTESTATION
        and REFERENCE_DIGEST in child.annotations
    }


def statements_in(
    manifests: Mapping[Digest, Manifest],
    subjects: Mapping[Digest, Digest],
    platforms: Mapping[Digest, Platform | None],
    *,
    form: str,
) -> Iterator[Attached]:
    """The statements that manifests hold; ``subjects`` says what each manifest is about."""
    for digest, manifest in manifests.items():
        subject = subjects[digest]
        for layer in manifest.layers:
            if layer.media_type == MEDIA_TYPE:
                kind = layer.annotations.get(PREDICATE) or manifest.annotations.get(PREDICATE, "")
                yield Attached(kind, layer, digest, subject, form, platforms.get(subject))
            elif layer.media_type == SIGSTORE_BUNDLE:
                kind = manifest.annotations.get(BUNDLE_PREDICATE, "")
                if kind != COSIGN_SIGN:
                    yield Attached(kind, layer, digest, subject, BUNDLE, platforms.get(subject))
