"""Statements under a signature: DSSE envelopes in sigstore bundles, as ``cosign attest`` has them.

A bundle is a referrer of its image. It is not a signature of the image: a policy that asks for one
is not satisfied by it (``trust.bundle``), and here the type of the statement decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.attestations import manifests
from engine.attestations.statement import Statement, parse
from engine.signatures import fetch_bundles
from images.errors import ImagesError
from images.mediatype import OCI_MANIFEST
from records import Record, replace
from trust import bundle
from trust.claims import open_statement
from trust.errors import TrustError, UnsignedError
from trust.signature import BundleSignature

if TYPE_CHECKING:
    from images.client import RegistryClient
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference
    from trust.keys import PublicKey
    from trust.signers.signer import Signer


class Verified(Record):
    """A statement whose signature by ``key`` is right, about the image ``subject``."""

    statement: Statement
    subject: Digest
    key: PublicKey


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


async def sign_statements(
    client: RegistryClient,
    reference: Reference,
    statements: Iterable[Statement],
    key: Signer,
    *,
    now: Callable[[], datetime] = utc_now,
) -> list[Statement]:
    """Sign statements about images that ``reference`` leads to, and attach the bundles there.

    What ``key`` has signed already, in the same bytes, is not signed again. Returns what was.

    Raises:
        SigningError: a statement is too large. RegistryError: the registry's side.
    """
    images = await _images(client, reference)
    signed: list[Statement] = []
    for statement in statements:
        for subject in images:
            if subject.digest not in statement.subjects:
                continue
            present = await _verified(client, reference, subject.digest, [key.public])
            if any(item.statement.raw == statement.raw for item in present):
                continue
            made = await asyncio.to_thread(bundle.enclose, key, statement.raw)
            manifest, config = bundle.referrer(
                made, subject, created=now(), predicate_type=statement.predicate_type
            )
            await client.put_blob(reference, config)
            await client.put_blob(reference, made.raw)
            place = replace(reference, tag=None, digest=manifest.digest)
            await client.put_manifest(place, manifest.raw, OCI_MANIFEST)
            signed.append(statement)
    return signed


async def verify_statements(
    client: RegistryClient,
    reference: Reference,
    keys: Sequence[PublicKey],
    wanted: Callable[[Statement], bool],
) -> list[Verified]:
    """The statements that one of ``keys`` signed and ``wanted`` accepts; of every image one.

    Raises:
        UnsignedError: an image that ``reference`` leads to has none.
        RegistryError: the registry's side.
    """
    found: list[Verified] = []
    for subject in await _images(client, reference):
        mine = [
            item
            for item in await _verified(client, reference, subject.digest, keys)
            if wanted(item.statement)
        ]
        if not mine:
            raise UnsignedError(
                f"no such statement about {subject.digest} is signed by the key",
                where=str(reference),
                fix="see what there is: lading attestation list --remote IMAGE",
            )
        found += mine
    return found


async def _images(client: RegistryClient, reference: Reference) -> list[Descriptor]:
    fetched = await client.read_manifest(reference)
    images = manifests.images_in(fetched.document, fetched.descriptor)
    listed = getattr(fetched.document, "manifests", (fetched.descriptor,))
    return [item for item in listed if item.digest in images]


async def _verified(
    client: RegistryClient, reference: Reference, subject: Digest, keys: Sequence[PublicKey]
) -> list[Verified]:
    """What the registry has for one image; damaged and foreign bundles are passed over."""
    verified = []
    for item in (await fetch_bundles(client, reference, subject)).items:
        if not isinstance(item, BundleSignature):
            continue
        try:
            key, payload = await asyncio.to_thread(open_statement, item, keys)
            statement = parse(payload)
        except (TrustError, ImagesError):
            continue
        if subject in statement.subjects and statement.predicate_type != bundle.COSIGN_SIGN:
            verified.append(Verified(statement, subject, key))
    return verified
