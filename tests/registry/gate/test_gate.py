"""Gated repositories serve what is signed, and say why they refuse the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.digest import Digest
from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.errors import RegistryConfigError
from registry.gate.settings import GateRule
from tests.registry import kit
from tests.registry.access_kit import basic, rule, token_for, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.gate.gatekit import (
    HOST,
    REPOSITORY,
    Signer,
    gate,
    image,
    new_key,
    policy,
    pull,
    refused,
    served,
)
from tests.registry.kit import Client, digest_of
from trust.keys import PrivateKey

IMAGE = image()
OTHER = image(1)


@pytest.fixture
def key() -> PrivateKey:
    return new_key()


@pytest.fixture
async def client(start: StartRegistry, tmp_path: Path, key: PrivateKey) -> Client:
    """A registry without users whose ``prod/**`` is gated."""
    found = await start(gate=gate(tmp_path, key))
    await found.push_blob(REPOSITORY, b"{}")
    await found.push_manifest(REPOSITORY, IMAGE, "1", digest_of(IMAGE))
    return found


async def test_unsigned_is_refused_by_tag_and_digest_and_the_rule_is_named(client: Client) -> None:
    for reference in ("1", digest_of(IMAGE)):
        why = await refused(client, reference)
        assert "the gate of prod/** does not serve this" in why
        assert 'policy.toml: rule "ours"' in why
        assert "must be signed by release.pub" in why
        assert "/" not in why.partition("policy.toml")[0].replace("prod/**", "")
    answer = await pull(client, "1")
    assert "lading trust sign" in answer.json["errors"][0]["detail"]
    unchanged = {"If-None-Match": f'"{digest_of(IMAGE)}"'}
    assert (await pull(client, "1", headers=unchanged)).status == 403


@pytest.mark.parametrize("form", ["tag", "bundle"])
async def test_a_signature_opens_and_its_deletion_closes(
    client: Client, key: PrivateKey, form: str
) -> None:
    await refused(client, "1")
    made = await getattr(Signer(client, key), form)(IMAGE, ":1")
    await served(client, "1", IMAGE)
    await served(client, digest_of(IMAGE), IMAGE)
    assert (await pull(client, made, "DELETE")).status == 202
    await refused(client, "1")
    await refused(client, digest_of(IMAGE))


async def test_other_repositories_are_open(client: Client) -> None:
    await client.push_image("dev/web", "1")
    assert (await client.send("GET", "/v2/dev/web/manifests/1")).status == 200
    assert (await client.send("GET", "/v2/prod/web/manifests/2")).status == 404


async def test_a_key_of_somebody_else_opens_nothing(client: Client) -> None:
    stranger = Signer(client, new_key())
    await stranger.tag(IMAGE, ":1")
    await stranger.bundle(IMAGE, ":1")
    assert "none of the accepted keys" in await refused(client, "1")


async def test_a_tag_moved_to_something_unsigned_is_refused(
    client: Client, key: PrivateKey
) -> None:
    await Signer(client, key).tag(IMAGE, ":1")
    await served(client, "1", IMAGE)
    await client.push_manifest(REPOSITORY, OTHER, "1")
    await refused(client, "1")
    await served(client, digest_of(IMAGE), IMAGE)


async def test_a_signature_for_another_digest_counts_nowhere_else(
    client: Client, key: PrivateKey
) -> None:
    signer = Signer(client, key)
    await signer.tag(OTHER, ":1", under=IMAGE)
    await signer.bundle(OTHER, ":1", subject=IMAGE)
    assert f"not for {digest_of(IMAGE)}" in await refused(client, "1")


async def test_a_signature_for_another_name_or_tag_is_refused(
    client: Client, key: PrivateKey
) -> None:
    signer = Signer(client, key)
    await signer.tag(IMAGE, ":2")
    assert f"is for {HOST}/prod/web:2" in await refused(client, "1")
    await served(client, digest_of(IMAGE), IMAGE)
    await client.push_blob("prod/other", b"{}")
    await client.push_manifest("prod/other", IMAGE, "2")
    await Signer(client, key, "prod/other").tag(IMAGE, ":2")
    assert (await client.send("GET", "/v2/prod/other/manifests/2")).status == 403


async def test_attachments_stay_reachable(client: Client, key: PrivateKey) -> None:
    sbom = kit.manifest(
        subject=kit.descriptor(OTHER, OCI_MANIFEST),
        artifactType="application/spdx+json",
        config=b"{}",
    )
    sbom = kit.replaced(sbom, config=kit.descriptor(b"{}", "application/vnd.oci.empty.v1+json"))
    await client.push_manifest(REPOSITORY, OTHER, "2")
    await client.push_manifest(REPOSITORY, sbom)
    stranger = Signer(client, new_key())
    tag, attached = await stranger.tag(OTHER, ":2"), await stranger.bundle(OTHER, ":2")
    for reference in (tag, attached, digest_of(sbom)):
        assert (await pull(client, reference)).status == 200
    under_tag = (await pull(client, tag)).headers["Docker-Content-Digest"]
    assert (await pull(client, under_tag)).status == 200
    listed = await client.send("GET", f"/v2/{REPOSITORY}/referrers/{digest_of(OTHER)}")
    assert {item["digest"] for item in listed.json["manifests"]} == {attached, digest_of(sbom)}
    tags = await client.send("GET", f"/v2/{REPOSITORY}/tags/list")
    assert tags.json["tags"] == ["1", "2", tag]
    await refused(client, "2")


@pytest.mark.parametrize("where", ["subject", "tag", "config", "index"])
async def test_an_image_cannot_pose_as_an_attachment(client: Client, where: str) -> None:
    layer = b"a file system"
    await client.push_blob(REPOSITORY, layer)
    raw, tag, media_type = kit.manifest(layers=[layer]), "2", OCI_MANIFEST
    subject = kit.descriptor(IMAGE, OCI_MANIFEST)
    match where:
        case "tag":
            tag = "sha256-" + "0" * 64 + ".sig"
        case "config":
            config = kit.descriptor(b"{}", "application/vnd.oci.empty.v1+json")
            raw = kit.replaced(raw, config=config, subject=subject)
        case "subject":
            raw = kit.replaced(kit.manifest(), subject=subject, artifactType="a/b")
        case "index":
            raw, media_type = kit.index([IMAGE], subject=subject), OCI_INDEX
    await client.push_manifest(REPOSITORY, raw, tag, digest_of(raw), media_type=media_type)
    await refused(client, tag)
    await refused(client, digest_of(raw))


async def test_children_of_a_signed_index_are_served_by_digest_only(
    client: Client, key: PrivateKey
) -> None:
    listing = kit.index([IMAGE])
    outer = kit.replaced(kit.index(), manifests=[kit.descriptor(listing, OCI_INDEX)])
    await client.push_manifest(REPOSITORY, listing, media_type=OCI_INDEX)
    await client.push_manifest(REPOSITORY, outer, "multi", media_type=OCI_INDEX)
    await refused(client, digest_of(IMAGE))
    await Signer(client, key).bundle(outer, ":multi", media_type=OCI_INDEX)
    await served(client, "multi", outer)
    await served(client, digest_of(listing), listing)
    await served(client, digest_of(IMAGE), IMAGE)
    await refused(client, "1")


async def test_being_the_subject_of_a_signed_index_is_not_being_in_it(
    client: Client, key: PrivateKey
) -> None:
    subject = kit.descriptor(IMAGE, OCI_MANIFEST)
    listing = kit.index(subject=subject)
    await client.push_manifest(REPOSITORY, listing, "multi", media_type=OCI_INDEX)
    await Signer(client, key).bundle(listing, ":multi", media_type=OCI_INDEX)
    await served(client, "multi", listing)
    await refused(client, digest_of(IMAGE))


async def test_an_exact_identity_serves_the_digest_behind_the_tag(
    start: StartRegistry, tmp_path: Path, key: PrivateKey
) -> None:
    """Clients resolve a tag and fetch the digest."""
    client = await start(gate=gate(tmp_path, key, policy=policy(tmp_path, key, identity="exact")))
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    await Signer(client, key).tag(IMAGE, ":1")
    await served(client, "1", IMAGE)
    await served(client, digest_of(IMAGE), IMAGE)
    await client.push_manifest(REPOSITORY, OTHER, "1")
    await refused(client, digest_of(IMAGE))


async def test_who_may_push_reads_what_is_not_signed_yet(
    start: StartRegistry, tmp_path: Path, key: PrivateKey
) -> None:
    from registry.config import AccessSettings

    access = AccessSettings(
        htpasswd=users_file(tmp_path / "users", "ada", "bob"),
        rules=(
            rule("**", "pull,push", users=("ada",)),
            rule("prod/**", "pull", users=("bob",)),
        ),
        anonymous_pull=True,
    )
    for exempt in (True, False):
        client = await start(
            root=tmp_path / str(exempt), access=access, gate=gate(tmp_path, key, exempt_push=exempt)
        )
        client.headers = basic("ada")
        await client.push_blob(REPOSITORY, b"{}")
        await client.push_manifest(REPOSITORY, IMAGE, "1")
        assert (await pull(client, "1")).status == (200 if exempt else 403)
        client.headers = basic("bob")
        await refused(client, "1")
        client.headers = await token_for(client, "", f"repository:{REPOSITORY}:pull")
        await refused(client, "1")
        client.headers = {}
        answer = await pull(client, "1")
        assert answer.status == (401 if exempt else 403), "a login may help, or not"
        assert answer.headers.get("WWW-Authenticate", "").startswith("Bearer " if exempt else "")
        assert "the gate of prod/**" in answer.json["errors"][0]["message"]
        client.headers = basic("ada")
        await Signer(client, key).tag(IMAGE, ":1")
        client.headers = basic("bob")
        await served(client, "1", IMAGE)


async def test_refusals_are_in_the_audit_log(
    start: StartRegistry, tmp_path: Path, key: PrivateKey
) -> None:
    import asyncio
    import json

    from registry.access.settings import AuditSettings
    from registry.config import AccessSettings

    log = tmp_path / "audit.log"
    access = AccessSettings(audit=AuditSettings(path=log))
    client = await start(access=access, gate=gate(tmp_path, key))
    await client.push_blob(REPOSITORY, b"{}")
    await client.push_manifest(REPOSITORY, IMAGE, "1")
    await refused(client, "1")
    denied: list[dict[str, object]] = []
    async with asyncio.timeout(60):
        while len(denied) < 2:
            await asyncio.sleep(0.02)
            # A line that is not whole yet has no end.
            events = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
            denied = [event for event in events if not event["allowed"]]
    assert denied[0]["event"] == "pull"
    assert denied[0]["reference"] == "1"
    assert str(denied[0]["rule"]).startswith("the gate of prod/**")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": None, "name": HOST}, "needs a policy"),
        ({"policy": Path("p"), "name": "https://a"}, "is no host"),
        ({"policy": Path("p"), "name": HOST, "repositories": "a//b"}, "not a pattern"),
    ],
)
def test_rules_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(RegistryConfigError, match=message):
        GateRule(**fields)  # type: ignore[arg-type]


async def test_sha512_digests_are_never_signed_in_these_formats(client: Client) -> None:
    wide = str(Digest.of(IMAGE, "sha512"))
    await client.push_manifest(REPOSITORY, IMAGE, wide)
    await refused(client, wide)
