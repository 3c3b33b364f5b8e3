"""What pages say of signatures: the gate's word, the registry's own signature, and no more."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_EMPTY, OCI_MANIFEST
from registry.countersign.settings import CountersignSettings
from registry.gate.settings import GateRule
from registry.web.attached import kind_of
from tests.conftest import require_program
from tests.registry.conftest import StartRegistry
from tests.registry.gate.gatekit import HOST, REPOSITORY, Signer, gate, image, new_key
from tests.registry.kit import Client, descriptor, digest_of, manifest, replaced
from tests.registry.web.webkit import Browser, Element
from tests.trust.test_simple import Gpg, payload
from trust.bundle import BUNDLE
from trust.keys import Algorithm, PrivateKey
from trust.notation import referrer
from trust.notation.signing import CertifiedKey, self_signed

ACCEPTED = "verified: the gate's policy accepts it"
IMAGE, PAGE = image(), f"/web/image/{REPOSITORY}:1"


@pytest.fixture
def key() -> PrivateKey:
    return new_key()


@pytest.fixture
async def client(start: StartRegistry, tmp_path: Path, key: PrivateKey) -> Client:
    """A registry that countersigns what comes into a gated repository."""
    settings = CountersignSettings(repositories=("prod/**",), name=HOST)
    found = await start(gate=gate(tmp_path, key), countersign=settings)
    await found.push_blob(REPOSITORY, b"{}")
    await found.push_manifest(REPOSITORY, IMAGE, "1")
    return found


def verdicts(page: Element) -> list[str]:
    return sorted(it.text for it in page.all("span") if "verdict" in it.attrs.get("class", ""))


async def test_the_gates_word_is_told(client: Client, key: PrivateKey) -> None:
    browser = Browser(client)
    told = (await browser.get(PAGE)).one("p", **{"class": "gate bad"})
    assert "does not serve this" in told.text
    await Signer(client, key).bundle(IMAGE, ":1")
    assert (await browser.get(PAGE)).one("p", **{"class": "gate good"})


async def test_signatures_of_the_registry_are_verified(client: Client, key: PrivateKey) -> None:
    await Signer(client, key).bundle(IMAGE, ":1")
    await Signer(client, key).tag(IMAGE, ":1")
    browser = Browser(client)
    for _ in range(300):
        found = verdicts(await browser.get(PAGE))
        if len(found) == 3:
            break
        await asyncio.sleep(0.2)
    assert found == ["verified: countersigned by this registry", ACCEPTED, ACCEPTED]


async def test_a_key_that_nobody_asked_for_does_not_count(client: Client) -> None:
    await Signer(client, new_key()).bundle(IMAGE, ":1")
    await Signer(client, new_key()).tag(IMAGE, ":1")
    found = [text for text in verdicts(await Browser(client).get(PAGE)) if "ountersign" not in text]
    assert len(found) == 2
    assert all(text.startswith("does not count: ") for text in found)


async def test_without_a_gate_nobody_says_whose_signatures_count(start: StartRegistry) -> None:
    client = await start()
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    await Signer(client, new_key()).bundle(IMAGE, ":1")
    (told,) = verdicts(await Browser(client).get(PAGE))
    assert told == "present; no gate here says whose signatures count"


async def attach(client: Client, certified: CertifiedKey, raw: bytes, under: bytes) -> None:
    """Put an envelope of notation over ``raw`` beside ``under``."""
    now = datetime.now(UTC)
    target = Descriptor(OCI_MANIFEST, Digest.of(raw), len(raw))
    envelope = certified.sign(target, signed_at=now)
    subject = Descriptor(OCI_MANIFEST, Digest.of(under), len(under))
    made, config = referrer.referrer(envelope, certified.chain, subject, created=now)
    for blob in (config, envelope):
        await client.push_blob(REPOSITORY, blob)
    await client.push_manifest(REPOSITORY, made.raw)


def certified_key(name: str) -> CertifiedKey:
    key = PrivateKey.generate(Algorithm.ECDSA_P256)
    subject = f"C=DE, ST=Hamburg, O=Acme, CN={name}"
    certificate = self_signed(key, subject, now=datetime.now(UTC) - timedelta(hours=1))
    return CertifiedKey.join(key, (certificate,), where=name)


async def test_notation_by_the_trust_store_of_the_gate(
    start: StartRegistry, tmp_path: Path
) -> None:
    ours, theirs = certified_key("ours"), certified_key("theirs")
    store = tmp_path / "notation" / "truststore" / "x509" / "ca" / "acme"
    store.mkdir(parents=True)
    (store / "ours.pem").write_bytes(ours.chain[0].public_bytes(Encoding.PEM))
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'default = "reject"\n[[rule]]\nname = "ours"\nscopes = ["{HOST}"]\n'
        'require = "notation"\nlevel = "strict"\nstores = ["ca:acme"]\nidentities = ["*"]\n'
        f'config = "{tmp_path / "notation"}"\n'
    )
    client = await start(gate=(GateRule(repositories="prod/**", policy=policy, name=HOST),))
    other = image(7)
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    for certified, raw in ((ours, IMAGE), (theirs, IMAGE), (ours, other)):
        await attach(client, certified, raw, IMAGE)
    await Signer(client, new_key()).bundle(IMAGE, ":1")
    page = await Browser(client).get(PAGE)
    assert page.one("p", **{"class": "gate good"})
    found = verdicts(page)
    assert found.count(ACCEPTED) == 1
    assert found.count("present; the gate's policy asks for no such signature") == 1
    assert sum(text.startswith("does not count: ") for text in found) == 2


async def test_notation_of_the_registry_is_verified(start: StartRegistry) -> None:
    settings = CountersignSettings(repositories=("prod/**",), name=HOST, notation=True)
    client = await start(countersign=settings)
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    browser = Browser(client)
    async with asyncio.timeout(60):
        while len(found := verdicts(await browser.get(PAGE))) < 2:
            await asyncio.sleep(0.1)
    assert found == ["verified: countersigned by this registry"] * 2


async def test_openpgp_by_the_keys_of_the_gate(start: StartRegistry, tmp_path: Path) -> None:
    require_program("gpg")
    require_program("gpgv")
    messages = await asyncio.to_thread(_openpgp, tmp_path)
    policy = tmp_path / "policy.json"
    ada = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "ada.gpg")}
    policy.write_text(json.dumps({"default": [ada]}))
    client = await start(gate=(GateRule(repositories="prod/**", policy=policy, name=HOST),))
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    digest, browser = digest_of(IMAGE), Browser(client)
    for number, expected in ((1, "does not count: "), (0, "verified: the gate's policy accepts 1")):
        body = {"schemaVersion": 2, "name": f"{digest}@{number:032x}", "type": "atomic"}
        body["content"] = base64.b64encode(messages[number]).decode()
        path = f"/extensions/v2/{REPOSITORY}/signatures/{digest}"
        answer = await client.send("PUT", path, data=json.dumps(body).encode())
        assert answer.status == 201, answer
        (told,) = verdicts(await browser.get(PAGE))
        assert told.startswith(expected)


def _openpgp(folder: Path) -> list[bytes]:
    """Messages by ada and by mallory; ada's key is left in ``folder``."""
    gpg = Gpg(folder / "gnupg")
    try:
        (folder / "ada.gpg").write_bytes(gpg.key("ada"))
        gpg.key("mallory")
        identity = {"docker-reference": f"{HOST}/{REPOSITORY}:1"}
        said = payload(identity=identity, image={"docker-manifest-digest": digest_of(IMAGE)})
        return [gpg.sign(name, said) for name in ("ada", "mallory")]
    finally:
        gpg.close()


async def test_a_signature_of_another_image_does_not_count(client: Client) -> None:
    browser = Browser(client)
    for _ in range(300):
        if verdicts(await browser.get(PAGE)):
            break
        await asyncio.sleep(0.2)
    listed = await client.send("GET", f"/v2/{REPOSITORY}/referrers/{digest_of(IMAGE)}")
    (entry,) = listed.json["manifests"]
    stolen = await client.send("GET", f"/v2/{REPOSITORY}/manifests/{entry['digest']}")
    other = image(7)
    await client.push_manifest(REPOSITORY, other, "other")
    moved = replaced(stolen.body, subject=descriptor(other, OCI_MANIFEST))
    await client.push_manifest(REPOSITORY, moved)
    for _ in range(300):
        found = verdicts(await browser.get(f"/web/image/{REPOSITORY}:other"))
        if len(found) == 2:
            break
        await asyncio.sleep(0.2)
    assert found[0].startswith("does not count: ")
    assert found[1] == "verified: countersigned by this registry"


async def test_damage_is_told(client: Client) -> None:
    raw = replaced(
        manifest(),
        config=descriptor(b"{}", OCI_EMPTY),
        layers=[],
        artifactType=BUNDLE,
        subject=descriptor(IMAGE, json.loads(IMAGE)["mediaType"]),
    )
    await client.push_manifest(REPOSITORY, raw)
    found = verdicts(await Browser(client).get(PAGE))
    assert any(text.startswith("does not count") for text in found)


@pytest.mark.parametrize(
    ("artifact_type", "predicate", "kind"),
    [
        (BUNDLE, "https://sigstore.dev/cosign/sign/v1", "Signature (sigstore)"),
        (BUNDLE, "https://slsa.dev/provenance/v1", "Provenance (SLSA)"),
        (BUNDLE, "https://spdx.dev/Document", "SBOM (SPDX)"),
        (BUNDLE, "https://acme.example/claim", "Attestation (sigstore)"),
        ("application/vnd.cncf.notary.signature", "", "Signature (notation)"),
        ("application/vnd.cyclonedx+json", "", "SBOM (CycloneDX)"),
        ("application/vnd.in-toto+json", "", "Attestation (in-toto)"),
        ("application/vnd.acme", "", "Artifact"),
    ],
)
def test_kinds_have_names(artifact_type: str, predicate: str, kind: str) -> None:
    assert kind_of(artifact_type, predicate) == kind
