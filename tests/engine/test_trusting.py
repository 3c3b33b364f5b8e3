"""Signing, verifying and inspecting against a registry on a real socket, which lies on request."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine import trust_inspection, trusting
from engine.signatures import fetch_bundles, fetch_tag_signatures
from engine.trusting import Format
from images.client import RegistryClient
from images.client.errors import RegistryError
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Index, Manifest
from images.mediatype import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from images.reference import Reference
from tests.engine.signing_kit import NAME, add_image, now
from tests.simulators.registry import SimulatedRegistry
from trust import bundle, cosign
from trust.errors import (
    MalformedSignatureError,
    RejectedByPolicyError,
    SigningError,
    TooManySignaturesError,
    UnsignedError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.keys import Algorithm, PrivateKey
from trust.policy import Policy
from trust.signature import MAX_SIGNATURES
from trust.verify import policy_of_key

ALICE = PrivateKey.generate()
BOB = PrivateKey.generate(Algorithm.ED25519)


def strict(key: PrivateKey, identity: str = "matchRepoDigestOrExact") -> Policy:
    requirement = {
        "type": "sigstoreSigned",
        "keyPath": "key.pub",
        "signedIdentity": {"type": identity},
    }
    return Policy.parse(json.dumps({"default": [requirement]}).encode())


def reader(key: PrivateKey) -> Callable[[str], bytes]:
    return {"key.pub": key.public.pem}.__getitem__


async def check(
    client: RegistryClient, reference: Reference, key: PrivateKey = ALICE, **options: Any
) -> Descriptor:
    return await trusting.verify_reference(
        client, reference, strict(key, **options), read_key=reader(key)
    )


async def test_signed_image_verifies_in_either_format(
    client: RegistryClient, web: Reference
) -> None:
    for wanted in trusting.DEFAULT_FORMATS:
        (signed,) = await trusting.sign(client, web, ALICE, formats=[wanted], now=now)
        assert signed.added == (wanted,)
        assert await check(client, web) == signed.descriptor
        with pytest.raises(WrongKeyError):
            await check(client, web, BOB)


async def test_signing_writes_both_formats_once(client: RegistryClient, web: Reference) -> None:
    (first,) = await trusting.sign(client, web, ALICE, now=now)
    (again,) = await trusting.sign(client, web, ALICE, now=now)
    assert first.added == (Format.TAG, Format.BUNDLE)
    assert again.added == ()


async def test_several_signers_share_the_tag(client: RegistryClient, web: Reference) -> None:
    for key in (ALICE, BOB):
        await trusting.sign(client, web, key, now=now)
    for key in (ALICE, BOB):
        await check(client, web, key)
    digest = (await client.resolve(web)).digest
    assert len((await fetch_tag_signatures(client, web, digest)).items) == 2
    assert len((await fetch_bundles(client, web, digest)).items) == 2


async def test_signature_artifacts_have_cosigns_shape(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, annotations={"by": "ci"}, now=now)
    tag = f"sha256-{signed.descriptor.digest.hex}.sig"
    manifest = json.loads(registry.manifests[NAME, tag][0])
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert set(layer["annotations"]) == {"dev.cosignproject.cosign/signature"}
    assert manifest["config"]["mediaType"] == OCI_CONFIG
    assert json.loads(registry.blobs[NAME, layer["digest"]])["optional"] == {"by": "ci"}
    (referrer,) = await client.referrers(web, signed.descriptor.digest)
    assert referrer.artifact_type == bundle.BUNDLE
    raw, _ = await client.manifest(replace(web, tag=None, digest=referrer.digest))
    assert json.loads(raw)["annotations"]["org.opencontainers.image.created"] == (
        "2026-01-02T03:04:05Z"
    )


async def test_index_is_signed_with_its_platforms(
    client: RegistryClient, registry: SimulatedRegistry, host: str
) -> None:
    child = add_image(registry)
    index = Index.build([child])
    registry.add_manifest(NAME, index.raw, OCI_INDEX, "multi")
    multi = Reference.parse(f"{host}/{NAME}:multi")
    signed = await trusting.sign(client, multi, ALICE, now=now)
    assert [item.descriptor.digest for item in signed] == [index.digest, child.digest]
    await trusting.verify_digest(client, multi, child.digest, strict(ALICE), read_key=reader(ALICE))
    assert len(await trusting.sign(client, multi, BOB, recursive=False, now=now)) == 1


async def test_too_large_an_index_is_not_signed(
    client: RegistryClient, registry: SimulatedRegistry, host: str
) -> None:
    index = Index.build([add_image(registry)] * (trusting.MAX_PLATFORMS + 1))
    registry.add_manifest(NAME, index.raw, OCI_INDEX, "multi")
    multi = Reference.parse(f"{host}/{NAME}:multi")
    with pytest.raises(SigningError, match="257 manifests"):
        await trusting.sign(client, multi, ALICE, now=now)
    assert registry.seen("PUT") == []


async def test_image_is_signed_by_digest_alone(client: RegistryClient, web: Reference) -> None:
    pinned = replace(web, tag=None, digest=(await client.resolve(web)).digest)
    await trusting.sign(client, pinned, ALICE, now=now)
    await check(client, pinned)
    with pytest.raises(WrongIdentityError):
        await check(client, web)
    await check(client, web, identity="matchRepository")


async def test_sha512_image_is_unsigned(client: RegistryClient, web: Reference) -> None:
    with pytest.raises(UnsignedError):
        await trusting.verify_digest(
            client, web, Digest.of(b"x", "sha512"), strict(ALICE), read_key=reader(ALICE)
        )


async def test_referrer_that_is_no_bundle_is_damage(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    target = await client.resolve(web)
    config = Descriptor(OCI_CONFIG, registry.add_blob(NAME, b"{}"), 2)
    odd = Manifest.build(config, [], subject=target, artifact_type=bundle.BUNDLE)
    registry.add_manifest(NAME, odd.raw, OCI_MANIFEST)
    with pytest.raises(MalformedSignatureError, match="one bundle"):
        await check(client, web)
    await trusting.sign(client, web, ALICE, formats=[Format.BUNDLE], now=now)
    await check(client, web)


async def test_moved_tag_is_refused(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    await trusting.sign(client, web, ALICE, now=now)
    good = (await client.resolve(web)).digest
    evil = add_image(registry, "1", content=b"evil")
    with pytest.raises(UnsignedError) as caught:
        await check(client, web)
    assert "lading trust sign" in str(caught.value.fix)
    # A registry can also serve the good image's signatures under the evil digest.
    registry.manifests[NAME, cosign.signature_tag(evil.digest)] = registry.manifests[
        NAME, cosign.signature_tag(good)
    ]
    with pytest.raises(WrongDigestError):
        await check(client, web)


async def test_tag_that_was_not_signed_is_refused_by_default_and_allowed_by_repository(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    await trusting.sign(client, web, ALICE, now=now)
    add_image(registry, "2")
    other = web.with_tag("2")
    with pytest.raises(WrongIdentityError):
        await check(client, other)
    await check(client, other, identity="matchRepository")
    await check(client, replace(web, tag=None, digest=(await client.resolve(web)).digest))


async def test_bundle_that_refers_to_another_image_does_not_count(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.BUNDLE], now=now)
    other = add_image(registry, "2", content=b"other")
    listed = await client.referrers(web, signed.descriptor.digest)
    registry.fail(
        path="/referrers/",
        times=9,
        replace=Index.build(listed).raw,
        headers={"Content-Type": OCI_INDEX},
    )
    found = await fetch_bundles(client, web, other.digest)
    assert found.items == ()


async def test_policy_without_signatures_costs_no_request(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    digest = Digest.of(b"x")
    await trusting.verify_digest(client, web, digest, Policy.accept_anything())
    with pytest.raises(RejectedByPolicyError):
        await trusting.verify_digest(
            client, web, digest, Policy.parse(b'{"default":[{"type":"reject"}]}')
        )
    assert registry.requests == []


def test_policy_without_signatures_does_not_load_the_cryptography_library() -> None:
    program = """
import asyncio, sys
from engine import trusting
from images.digest import Digest
from images.reference import Reference
from trust.policy import Policy

check = trusting.verify_digest(
    None, Reference.parse("debian"), Digest.of(b""), Policy.accept_anything()
)
asyncio.run(check)
sys.exit(", ".join({"cryptography", "nacl"} & set(sys.modules)) or 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_verification_of_a_tag_signature_takes_two_requests(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, now=now)
    registry.requests.clear()
    await trusting.verify_digest(
        client, web, signed.descriptor.digest, strict(ALICE), read_key=reader(ALICE)
    )
    assert len(registry.requests) == 2


async def test_verifier_fits_the_clients_pull(client: RegistryClient, web: Reference) -> None:
    check = trusting.verifier(client, strict(ALICE), read_key=reader(ALICE))
    descriptor = await client.resolve(web)
    with pytest.raises(UnsignedError):
        await check(web, descriptor)
    await trusting.sign(client, web, ALICE, now=now)
    await check(web, descriptor)


async def test_registry_without_referrers_api_works(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    registry.referrers_api = False
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.BUNDLE], now=now)
    assert signed.added == (Format.BUNDLE,)
    await check(client, web)


async def test_append_is_repeated_when_another_signer_came_first(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    """The registry refuses to overwrite what was not read, so nothing is lost for a moment."""
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    tag = cosign.signature_tag(signed.descriptor.digest)
    alices = registry.manifests.pop((NAME, tag))
    put, raced, pauses = registry._put_manifest, [], []

    def racing(request: Any, raw: bytes, name: str, reference: str) -> Any:
        if reference == tag and not raced:
            raced.append(raw)
            registry.manifests[NAME, tag] = alices
        return put(request, raw, name, reference)

    async def pause(attempt: int) -> None:
        pauses.append(attempt)

    registry._put_manifest = racing  # type: ignore[method-assign]
    await trusting.sign(client, web, BOB, formats=[Format.TAG], now=now, pause=pause)
    assert pauses == [1]
    for key in (ALICE, BOB):
        await check(client, web, key)


@pytest.mark.parametrize("conditional", [True, False])
async def test_appends_at_once(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry, conditional: bool
) -> None:
    """With conditional requests none is lost; without, each signer sees that its own is there."""
    registry.conditional = conditional
    keys = [PrivateKey.generate(Algorithm.ED25519) for _ in range(12 if conditional else 2)]
    await asyncio.gather(
        *(trusting.sign(client, web, key, formats=[Format.TAG], now=now) for key in keys)
    )
    if conditional:
        for key in keys:
            await check(client, web, key)


async def test_a_tag_that_never_rests_is_an_error(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    pauses: list[int] = []

    async def pause(attempt: int) -> None:
        pauses.append(attempt)

    registry.fail(method="PUT", path="/manifests/", status=412, times=10_000)
    with pytest.raises(SigningError, match="overwriting"):
        await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now, pause=pause)
    assert pauses == list(range(1, trusting.CONTENDED_ATTEMPTS + 1))


async def test_append_is_repeated_when_another_signer_overwrote_it(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    registry.conditional = False
    await trusting.sign(client, web, BOB, formats=[Format.TAG], now=now)
    digest = (await client.resolve(web)).digest
    tag = cosign.signature_tag(digest)
    bobs = registry.manifests[NAME, tag]
    put, lost = registry._put_manifest, []

    def losing(request: Any, raw: bytes, name: str, reference: str) -> Any:
        answer = put(request, raw, name, reference)
        if reference == tag and not lost:
            lost.append(raw)
            registry.manifests[NAME, tag] = bobs
        return answer

    registry._put_manifest = losing  # type: ignore[method-assign]
    await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    assert lost
    for key in (ALICE, BOB):
        await check(client, web, key)


async def test_append_that_never_sticks_is_an_error(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    put = registry._put_manifest

    def forgetting(request: Any, raw: bytes, name: str, reference: str) -> Any:
        answer = put(request, raw, name, reference)
        registry.manifests.pop((NAME, reference), None)
        return answer

    registry._put_manifest = forgetting  # type: ignore[method-assign]
    with pytest.raises(SigningError, match="overwriting"):
        await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)


# -- a hostile registry ---------------------------------------------------------------------------


def signature_manifest(registry: SimulatedRegistry, digest: Digest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(registry.manifests[NAME, cosign.signature_tag(digest)][0])
    return document


def plant(
    registry: SimulatedRegistry, digest: Digest, raw: bytes, kind: str = OCI_MANIFEST
) -> None:
    registry.add_manifest(NAME, raw, kind, cosign.signature_tag(digest))


async def test_a_hundred_thousand_layers_are_refused_before_any_is_fetched(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    document = signature_manifest(registry, signed.descriptor.digest)
    for count in (MAX_SIGNATURES + 1, 9000):
        crowd = {**document, "layers": document["layers"] * count}
        plant(registry, signed.descriptor.digest, json.dumps(crowd).encode())
        registry.requests.clear()
        with pytest.raises(TooManySignaturesError):
            await check(client, web)
        assert registry.seen("GET", "/blobs/") == []


async def test_many_referrers_are_refused_before_any_is_fetched(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": str(Digest.of(b"%d" % n)),
            "size": 9,
            "artifactType": bundle.BUNDLE,
        }
        for n in range(MAX_SIGNATURES + 1)
    ]
    body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    registry.fail(path="/referrers/", replace=body)
    with pytest.raises(TooManySignaturesError):
        await check(client, web)
    assert registry.seen("GET", "/manifests/sha256:") == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b'{"schemaVersion":2}',
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":2,"manifests":[]}',
        b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:..","size":1},"layers":[]}',
        b'{"schemaVersion":2,"layers":' + b"[" * 5000,
    ],
)
async def test_damaged_signature_tag_is_named_and_does_not_hide_a_bundle(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry, raw: bytes
) -> None:
    headers = {"Content-Type": OCI_MANIFEST}
    registry.fail(path=r"\.sig$", times=9, status=200, headers=headers, body=raw)
    with pytest.raises(MalformedSignatureError) as caught:
        await check(client, web)
    assert ".sig" in str(caught.value.where)
    await trusting.sign(client, web, ALICE, formats=[Format.BUNDLE], now=now)
    await check(client, web)


async def test_other_bytes_for_a_payload_do_not_verify(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    (layer,) = signature_manifest(registry, signed.descriptor.digest)["layers"]
    registry.blobs[NAME, layer["digest"]] = b"x" * layer["size"]
    with pytest.raises(VerificationError):
        await check(client, web)
    del registry.blobs[NAME, layer["digest"]]
    with pytest.raises(MalformedSignatureError):
        await check(client, web)


async def test_one_damaged_layer_does_not_hide_a_good_one(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    document = signature_manifest(registry, signed.descriptor.digest)
    (good,) = document["layers"]
    bare = {key: value for key, value in good.items() if key != "annotations"}
    gone = {**good, "digest": str(Digest.of(b"gone"))}
    huge = {**good, "digest": str(Digest.of(b"huge")), "size": 1 << 40}
    document["layers"] = [bare, gone, huge, good]
    plant(registry, signed.descriptor.digest, json.dumps(document).encode())
    await check(client, web)
    found = await fetch_tag_signatures(client, web, signed.descriptor.digest)
    assert (len(found.items), len(found.damage)) == (1, 3)


async def test_foreign_layers_survive_an_append(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, BOB, formats=[Format.TAG], now=now)
    document = signature_manifest(registry, signed.descriptor.digest)
    odd = registry.add_blob(NAME, b"odd")
    document["layers"].append({"mediaType": "text/odd", "digest": str(odd), "size": 3})
    plant(registry, signed.descriptor.digest, json.dumps(document).encode())
    await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    layers = signature_manifest(registry, signed.descriptor.digest)["layers"]
    assert [item["mediaType"] for item in layers] == [
        cosign.SIMPLE_SIGNING,
        "text/odd",
        cosign.SIMPLE_SIGNING,
    ]


async def test_failing_registry_is_not_an_unsigned_image(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    await trusting.sign(client, web, ALICE, now=now)
    registry.fail(path=r"\.sig$", status=503, times=9)
    with pytest.raises(RegistryError):
        await check(client, web)


# -- inspect
# -----------------------------------------------------------------------------------------


async def test_inspection_shows_signers_and_verdict(client: RegistryClient, web: Reference) -> None:
    await trusting.sign(client, web, ALICE, now=now)
    await trusting.sign(client, web, BOB, annotations={"by": "ci"}, now=now)
    seen = await trust_inspection.inspect(
        client, web, strict(ALICE), known={"alice": ALICE.public}, read_key=reader(ALICE)
    )
    data = seen.to_json()
    assert data["Policy"]["Accepted"] is True
    assert data["SignedTags"] == [
        {"SignedTag": "1", "Digest": seen.descriptor.digest.hex, "Signers": ["alice"]}
    ]
    assert data["Signers"] == [{"Name": "alice", "Keys": [{"ID": ALICE.public.key_id}]}]
    assert [item["Problem"] is None for item in data["Signatures"]] == [True, False, True, False]
    json.dumps(data)
    text = seen.pretty()
    assert f"alice               {ALICE.public.key_id[:12]}" in text
    assert "Policy: accepted" in text
    assert "Signatures that do not count:" in text


async def test_inspection_of_an_unsigned_image_says_what_to_do(
    client: RegistryClient, web: Reference
) -> None:
    seen = await trust_inspection.inspect(
        client, web, policy_of_key(ALICE.public), known={"alice": ALICE.public}
    )
    assert seen.to_json()["SignedTags"] == []
    assert seen.to_json()["Policy"]["Code"] == "unsigned"
    assert "No signatures for" in seen.pretty()
    assert "to fix: sign it with `lading trust sign --key NAME" in seen.pretty()


async def test_inspection_survives_a_crowd(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    (signed,) = await trusting.sign(client, web, ALICE, formats=[Format.TAG], now=now)
    document = signature_manifest(registry, signed.descriptor.digest)
    crowd = {**document, "layers": document["layers"] * 300}
    plant(registry, signed.descriptor.digest, json.dumps(crowd).encode())
    seen = await trust_inspection.inspect(client, web, strict(ALICE), known={})
    assert isinstance(seen.refusal, TooManySignaturesError)
    assert "too-many-signatures" in seen.pretty()


async def test_signature_for_another_name_is_shown_as_not_counting(
    client: RegistryClient, web: Reference, registry: SimulatedRegistry
) -> None:
    digest = (await client.resolve(web)).digest
    foreign = Reference.parse("registry.example.com/other/app:1")
    made, config = cosign.append(None, cosign.sign(ALICE, foreign, digest))
    registry.add_blob(NAME, config)
    registry.add_blob(NAME, cosign.payload(foreign, digest))
    plant(registry, digest, made.raw)
    seen = await trust_inspection.inspect(
        client, web, strict(ALICE), known={"alice": ALICE.public}, read_key=reader(ALICE)
    )
    (report,) = seen.signatures
    assert report.signer == "alice"
    assert report.problem is not None
    assert seen.signers == {}
