"""Statements that are attached to an image, in the store or in a registry.

What is found is checked for one thing only: that a statement speaks of the image it is attached to.
Who made it is another question; ``lading trust`` answers it for signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.attestations import manifests
from engine.attestations.manifests import BUNDLE, INDEX, REFERRER, Attached
from engine.attestations.statement import LIMIT, MEDIA_TYPE, InvalidStatementError, Statement, parse
from images.errors import SizeLimitError
from images.manifest import Manifest
from images.manifest import parse as parse_manifest
from records import Record, replace
from trust.bundle import BUNDLE as SIGSTORE_BUNDLE
from trust.bundle import parse_bundle

if TYPE_CHECKING:
    from engine.manifests.library import Library
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference
    from images.store import ImageStore

MOST: Final = 256
"""Manifests of statements that are looked into, of one image."""


class Findings(Record):
    """``elsewhere`` counts manifests of statements that an index lists and the store lacks."""

    attached: tuple[Attached, ...]
    elsewhere: int = 0


def find_stored(store: ImageStore, descriptor: Descriptor) -> Findings:
    """The statements in the store about what ``descriptor`` points to, and all that it lists.

    Raises:
        ImagesError: a manifest is missing or damaged.
    """
    root = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    platforms = manifests.images_in(root, descriptor)
    beside = manifests.attestations_in(root)
    there = {digest: subject for digest, subject in beside.items() if store.blobs.has(digest)}
    found = list(
        manifests.statements_in(
            {digest: _stored_manifest(store, digest) for digest in list(there)[:MOST]},
            there,
            platforms,
            form=INDEX,
        )
    )
    subjects = {item.digest: subject for subject in platforms for item in store.referrers(subject)}
    found += manifests.statements_in(
        {digest: _stored_manifest(store, digest) for digest in list(subjects)[:MOST]},
        subjects,
        platforms,
        form=REFERRER,
    )
    return Findings(tuple(found), len(beside) - len(there))


async def find_remote(client: Library, reference: Reference) -> Findings:
    """The statements in a registry about what ``reference`` names, and all that it lists.

    Raises:
        RegistryError: the registry's side.
        InvalidManifestError, SizeLimitError: damaged, or more than ``MOST`` manifests.
    """
    fetched = await client.read_manifest(reference)
    platforms = manifests.images_in(fetched.document, fetched.descriptor)
    beside = manifests.attestations_in(fetched.document)
    subjects: dict[Digest, Digest] = {}
    for subject in platforms:
        for kind in (MEDIA_TYPE, SIGSTORE_BUNDLE):
            for item in await client.referrers(reference, subject, artifact_type=kind):
                subjects[item.digest] = subject
    if len(beside) + len(subjects) > MOST:
        raise SizeLimitError(f"more than {MOST} statements", where=str(reference))
    found: list[Attached] = []
    for form, group in ((INDEX, beside), (REFERRER, subjects)):
        read = {digest: await _remote_manifest(client, reference, digest) for digest in group}
        found += manifests.statements_in(read, group, platforms, form=form)
    return Findings(tuple(found))


def read_stored(store: ImageStore, attached: Attached) -> Statement:
    """Read a statement and see that it is about its image.

    Raises:
        InvalidStatementError: malformed, or about another image.
        SizeLimitError: longer than a statement may be. ImagesError: missing or damaged.
    """
    return _about(store.blobs.read(attached.blob.digest, limit=LIMIT), attached)


async def read_remote(client: Library, reference: Reference, attached: Attached) -> Statement:
    """Fetch a statement and see that it is about its image; raises as ``read_stored``."""
    raw = await client.read_blob(reference, attached.blob, limit=LIMIT)
    return _about(raw, attached)


def _about(raw: bytes, attached: Attached) -> Statement:
    """The statement, out of its envelope if it has one, whose signature is not looked at here."""
    statement = parse(parse_bundle(raw).payload if attached.form == BUNDLE else raw)
    if attached.subject not in statement.subjects:
        raise InvalidStatementError(
            f"the statement is attached to {attached.subject} and says nothing of it",
            where=str(attached.blob.digest),
        )
    return statement


def _stored_manifest(store: ImageStore, digest: Digest) -> Manifest:
    return Manifest.parse(store.blobs.read(digest))


async def _remote_manifest(client: Library, reference: Reference, digest: Digest) -> Manifest:
    fetched = await client.read_manifest(replace(reference, tag=None, digest=digest))
    return Manifest.parse(fetched.raw, fetched.document.media_type)
