"""Statements under signatures: verified by others' code, and never taken for approval."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from engine.attestations import manifests
from engine.attestations.finding import find_remote, read_remote
from engine.attestations.signing import sign_statements, verify_statements
from engine.attestations.statement import Statement, make
from engine.signatures import fetch_bundles
from engine.trusting import Format, sign, verify_digest
from images.client import RegistryClient
from images.digest import Digest
from images.reference import Reference
from images.store import Image, ImageStore
from tests.images.clientkit import client
from tests.images.packages.imagekit import file, image_of
from tests.simulators.registry import SimulatedRegistry
from trust import bundle
from trust.errors import SigningError, UnsignedError, VerificationError
from trust.keys import PrivateKey
from trust.signature import BundleSignature
from trust.verify import policy_of_key

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate()
KIND = "https://slsa.dev/provenance/v1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


@pytest.fixture
def image(store: ImageStore) -> Image:
    image = image_of(store, {"base": [file("a", b"a")]})
    statement = make(KIND, {"a": "b"}, image.descriptor.digest)
    manifests.put_referrers([statement], image.descriptor, store)
    return image


@pytest.fixture
async def remote(
    store: ImageStore, image: Image
) -> AsyncIterator[tuple[RegistryClient, Reference]]:
    async with SimulatedRegistry().serve() as host, client() as it:
        name = Reference.parse(f"{host}/team/app:1")
        await it.push(name, store, image.descriptor)
        yield it, name


Remote = tuple[RegistryClient, Reference]


async def attached(remote: Remote) -> list[Statement]:
    it, name = remote
    found = (await find_remote(it, name)).attached
    return [await read_remote(it, name, item) for item in found]


def anything(statement: Statement) -> bool:
    return True


async def test_signed_statements_are_verified_by_their_key_alone(remote: Remote) -> None:
    statements = await attached(remote)
    signed = await sign_statements(*remote, statements, ALICE, now=lambda: NOW)
    assert [item.predicate_type for item in signed] == [KIND]
    [verified] = await verify_statements(*remote, [BOB.public, ALICE.public], anything)
    assert verified.statement.predicate == {"a": "b"}
    assert verified.key == ALICE.public
    with pytest.raises(UnsignedError):
        await verify_statements(*remote, [BOB.public], anything)
    with pytest.raises(UnsignedError):
        await verify_statements(*remote, [ALICE.public], lambda item: item.predicate_type == "x")
    assert await sign_statements(*remote, statements, ALICE, now=lambda: NOW) == []
    it, name = remote
    found = {item.form: item for item in (await find_remote(it, name)).attached}
    assert set(found) == {"referrer", "bundle"}
    assert found["bundle"].predicate_type == KIND
    assert (await read_remote(it, name, found["bundle"])).raw == statements[0].raw


async def test_the_envelope_is_right_to_other_libraries(remote: Remote, image: Image) -> None:
    it, name = remote
    await sign_statements(it, name, await attached(remote), ALICE, now=lambda: NOW)
    subject = image.descriptor.digest
    [item] = (await fetch_bundles(it, name, subject)).items
    assert isinstance(item, BundleSignature)
    found = json.loads(item.raw)["dsseEnvelope"]
    for signature in found["signatures"]:
        signature.setdefault("keyid", "alice")
    public = {"public": ALICE.public.pem.decode()}
    key = SSlibKey("alice", "ecdsa", "ecdsa-sha2-nistp256", public)
    Envelope.from_dict(found).verify([key], 1)
    [listed] = await it.referrers(name, subject, artifact_type=bundle.BUNDLE)
    holder = (await it.read_manifest(name.with_digest(listed.digest))).document
    assert holder.annotations["dev.sigstore.bundle.predicateType"] == KIND


async def test_a_signed_statement_is_no_signature_of_the_image(
    remote: Remote, image: Image
) -> None:
    it, name = remote
    digest = image.descriptor.digest
    await sign_statements(it, name, await attached(remote), ALICE, now=lambda: NOW)
    policy = policy_of_key(ALICE.public)
    with pytest.raises(VerificationError):
        await verify_digest(it, name, digest, policy)
    await sign(it, name, ALICE, formats=(Format.BUNDLE,))
    await verify_digest(it, name, digest, policy)


async def test_a_statement_about_another_image_counts_for_nothing(
    remote: Remote, image: Image
) -> None:
    it, name = remote
    foreign = make(KIND, {}, Digest.of(b"other"))
    assert await sign_statements(it, name, [foreign], ALICE, now=lambda: NOW) == []
    made = bundle.enclose(ALICE, foreign.raw)
    manifest, config = bundle.referrer(made, image.descriptor, created=NOW, predicate_type=KIND)
    for data in (config, made.raw):
        await it.put_blob(name, data)
    place = Reference(name.registry, name.repository, None, manifest.digest)
    await it.put_manifest(place, manifest.raw, manifest.media_type)
    with pytest.raises(UnsignedError):
        await verify_statements(it, name, [ALICE.public], anything)


def test_a_bundle_that_verifiers_would_refuse_is_not_made() -> None:
    large = make(KIND, {"a": "x" * (1 << 20)}, Digest.of(b"x"))
    with pytest.raises(SigningError, match="over the limit"):
        bundle.enclose(ALICE, large.raw)
