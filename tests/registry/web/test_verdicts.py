"""What pages say of signatures: the gate's word, the registry's own signature, and no more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from images.mediatype import OCI_EMPTY, OCI_MANIFEST
from registry.countersign.settings import CountersignSettings
from registry.web.attached import kind_of
from tests.registry.conftest import StartRegistry
from tests.registry.gate.gatekit import HOST, REPOSITORY, Signer, gate, image, new_key
from tests.registry.kit import Client, descriptor, digest_of, manifest, replaced
from tests.registry.web.webkit import Browser, Element
from trust.bundle import BUNDLE
from trust.keys import PrivateKey

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
    for _ in range(100):
        found = verdicts(await browser.get(PAGE))
        if len(found) == 3:
            break
        await asyncio.sleep(0.2)
    assert found == [
        "present, by a key that is not this registry's",
        "present; not checked by the server",
        "verified: countersigned by this registry",
    ]


async def test_a_signature_of_another_image_does_not_count(client: Client) -> None:
    browser = Browser(client)
    for _ in range(100):
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
    for _ in range(100):
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
