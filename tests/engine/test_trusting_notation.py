"""Notary Project signatures against a registry: written, found, judged by the policy's own rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from engine import trust_inspection, trusting
from engine.signatures import fetch_notation
from engine.trusting import Format
from images.client import RegistryClient
from images.reference import Reference
from tests.engine.signing_kit import NAME, add_image, now
from tests.simulators.registry import SimulatedRegistry
from trust.errors import UnsignedError, UnsupportedSignatureError, UntrustedChainError
from trust.keys import PrivateKey
from trust.notation.referrer import ARTIFACT, COSE
from trust.notation.signing import CertifiedKey, self_signed
from trust.policy import Policy
from trust.policyfile import load_policy

KEY = PrivateKey.generate()
SUBJECT = "C=DE, ST=Hamburg, O=Acme, CN=release"
RULE = """default = "reject"
[[rule]]
name = "all"
scopes = [""]
require = "notation"
stores = ["ca:acme"]
identities = ["x509.subject: C=DE, ST=Hamburg, O=Acme"]
config = "."
"""


@pytest.fixture
def certified() -> CertifiedKey:
    return CertifiedKey.join(KEY, (self_signed(KEY, SUBJECT, now=now()),), where="here")


@pytest.fixture
def policy(tmp_path: Path, certified: CertifiedKey) -> Policy:
    store = tmp_path / "truststore/x509/ca/acme"
    store.mkdir(parents=True)
    (store / "acme.pem").write_bytes(certified.chain[0].public_bytes(Encoding.PEM))
    (tmp_path / "policy.toml").write_text(RULE)
    return load_policy(tmp_path / "policy.toml")


async def test_signed_once_and_accepted(
    client: RegistryClient, web: Reference, certified: CertifiedKey, policy: Policy
) -> None:
    for added in ((Format.NOTATION,), ()):
        (signed,) = await trusting.sign(client, web, KEY, formats=(), certified=certified, now=now)
        assert signed.added == added
    await trusting.verify_digest(client, web, signed.descriptor.digest, policy, now=now)
    assert len((await fetch_notation(client, web, signed.descriptor.digest)).items) == 1


async def test_cosigns_formats_do_not_satisfy_the_rule(
    client: RegistryClient, web: Reference, policy: Policy
) -> None:
    (signed,) = await trusting.sign(client, web, KEY, now=now)
    with pytest.raises(UnsignedError, match="notation"):
        await trusting.verify_digest(client, web, signed.descriptor.digest, policy, now=now)


async def test_a_strangers_certificate_is_refused(
    client: RegistryClient, web: Reference, policy: Policy
) -> None:
    other = PrivateKey.generate()
    stranger = CertifiedKey.join(other, (self_signed(other, SUBJECT, now=now()),), where="here")
    (signed,) = await trusting.sign(client, web, other, formats=(), certified=stranger, now=now)
    with pytest.raises(UntrustedChainError):
        await trusting.verify_digest(client, web, signed.descriptor.digest, policy, now=now)


async def test_an_envelope_that_lading_cannot_read_is_named(
    client: RegistryClient,
    web: Reference,
    certified: CertifiedKey,
    policy: Policy,
    registry: SimulatedRegistry,
) -> None:
    (signed,) = await trusting.sign(client, web, KEY, formats=(), certified=certified, now=now)
    (found,) = await client.referrers(web, signed.descriptor.digest, artifact_type=ARTIFACT)
    raw, media_type = await client.manifest(Reference.parse(f"{web.name}@{found.digest}"))
    cose = raw.replace(b"application/jose+json", COSE.encode())
    registry.manifests.clear()
    add_image(registry, "1")
    registry.add_manifest(NAME, cose, media_type)
    with pytest.raises(UnsupportedSignatureError, match="COSE"):
        await trusting.verify_digest(client, web, signed.descriptor.digest, policy, now=now)


async def test_inspect_shows_the_verdict(
    client: RegistryClient, web: Reference, certified: CertifiedKey, policy: Policy
) -> None:
    await trusting.sign(client, web, KEY, formats=(), certified=certified, now=now)
    report = await trust_inspection.inspect(client, web, policy, known={}, now=now)
    assert report.refusal is None
    (signature,) = report.signatures
    assert signature.format is Format.NOTATION
    assert signature.signer == "CN=release,O=Acme,ST=Hamburg,C=DE"
    assert signature.problem is None
