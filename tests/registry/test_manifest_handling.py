"""Manifests over several requests: tags that move, referrers, indexes, and what is configured."""

from __future__ import annotations

import pytest

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.settings import LimitSettings
from tests.registry import kit
from tests.registry.cases import (
    ATTACHED_INDEX,
    IMAGE,
    MANIFEST_TYPE,
    SBOM,
    SIGNATURE,
    TAG,
    UNTAGGED,
    D,
)
from tests.registry.conftest import StartRegistry
from tests.registry.contract import holds
from tests.registry.kit import Client


async def test_referrers_carry_type_and_annotations(preloaded: Client) -> None:
    await preloaded.push_manifest("lib/app", SIGNATURE)
    await preloaded.push_manifest("lib/app", ATTACHED_INDEX, media_type=OCI_INDEX)
    answer = await preloaded.send("GET", f"/v2/lib/app/referrers/{D(IMAGE)}")
    listed = {entry["digest"]: entry for entry in answer.json["manifests"]}
    assert set(listed) == {D(SBOM), D(SIGNATURE), D(ATTACHED_INDEX)}
    assert listed[D(SIGNATURE)]["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert "artifactType" not in listed[D(ATTACHED_INDEX)]
    assert listed[D(ATTACHED_INDEX)]["mediaType"] == OCI_INDEX


async def test_referrers_leave_with_their_manifest(preloaded: Client) -> None:
    await preloaded.send("DELETE", f"/v2/lib/app/manifests/{D(SBOM)}")
    answer = await preloaded.send("GET", f"/v2/lib/app/referrers/{D(IMAGE)}")
    assert answer.json["manifests"] == []


async def test_fallback_tags_are_imported(client: Client) -> None:
    """What clients kept under ``sha256-<hex>`` is listed; the tag stays for older clients."""
    image = await client.push_image("a", "1")
    subject = kit.descriptor(image, OCI_MANIFEST)
    members = [kit.manifest(subject=subject, annotations={"n": str(n)}) for n in range(3)]
    for member in members:
        await client.push_manifest("a", member)
    stranger = kit.manifest(annotations={"has": "no subject"})
    await client.push_manifest("a", stranger)
    tag = D(image).replace(":", "-")
    await client.push_manifest("a", kit.index([*members, stranger]), tag, media_type=OCI_INDEX)
    listed = (await client.send("GET", f"/v2/a/referrers/{D(image)}")).json["manifests"]
    assert {entry["digest"] for entry in listed} == set(map(D, members))
    assert (await client.send("GET", f"/v2/a/manifests/{tag}")).status == 200


async def test_subject_may_come_later(client: Client) -> None:
    await client.push_blob("a", b"{}")
    late = kit.manifest(subject=kit.descriptor(b"later", OCI_MANIFEST))
    await client.push_manifest("a", late)
    answer = await client.send("GET", f"/v2/a/referrers/{D(b'later')}")
    assert [entry["digest"] for entry in answer.json["manifests"]] == [D(late)]


async def test_referrers_are_paged(client: Client) -> None:
    await client.push_blob("a", b"{}")
    subject = kit.descriptor(b"x", OCI_MANIFEST)
    pushed = {
        await client.push_manifest("a", kit.manifest(subject=subject, annotations={"n": str(n)}))
        for n in range(5)
    }
    path: str | None = (
        f"/v2/a/referrers/{D(b'x')}?n=2&artifactType=application/vnd.oci.image.config.v1%2Bjson"
    )
    seen: list[str] = []
    pages = 0
    while path is not None:
        answer = await client.send("GET", path)
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        seen += [entry["digest"] for entry in answer.json["manifests"]]
        link = answer.headers.get("Link")
        path = None if link is None else link.partition("<")[2].partition(">")[0]
        pages += 1
    assert (pages, set(seen), len(seen)) == (3, pushed, 5)


async def test_deleting_a_digest_deletes_its_tags(preloaded: Client) -> None:
    answer = await preloaded.send("DELETE", f"/v2/lib/app/manifests/{D(IMAGE)}")
    assert answer.status == 202
    for reference in ("1", "A", "z", D(IMAGE)):
        path = f"/v2/lib/app/manifests/{reference}"
        assert (await preloaded.send("HEAD", path)).status == 404
    tags = await preloaded.send("GET", "/v2/lib/app/tags/list")
    assert tags.json["tags"] == ["docker", "multi"]


async def test_deleting_a_tag_leaves_the_manifest(preloaded: Client) -> None:
    assert (await preloaded.send("DELETE", "/v2/lib/app/manifests/1")).status == 202
    assert (await preloaded.send("GET", "/v2/lib/app/manifests/1")).status == 404
    assert (await preloaded.send("GET", f"/v2/lib/app/manifests/{D(IMAGE)}")).status == 200


async def test_a_tag_moves_at_once(preloaded: Client) -> None:
    assert (await preloaded.send("GET", TAG)).body == IMAGE
    await preloaded.push_manifest("lib/app", UNTAGGED, "1")
    assert (await preloaded.send("GET", TAG)).body == UNTAGGED


@holds("What is served is what was pushed.")
async def test_unknown_fields_are_kept_byte_for_byte(client: Client) -> None:
    await client.push_blob("a", b"{}")
    raw = kit.manifest(**{"x-unknown": {"z": [1, 2.50, "é"]}}) + b"\n  \n"
    digest = await client.push_manifest("a", raw, "t")
    answer = await client.send("GET", "/v2/a/manifests/t")
    assert (answer.body, answer.headers["Docker-Content-Digest"]) == (raw, digest)


async def test_non_distributable_layers_need_not_exist(client: Client) -> None:
    await client.push_blob("a", b"{}")
    foreign = kit.descriptor(
        b"not here",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        urls=["https://example.com/layer"],
    )
    local = kit.descriptor(b"{}", "application/vnd.oci.image.layer.v1.tar")
    raw = kit.replaced(kit.manifest(), layers=[foreign, local])
    answer = await client.send("PUT", "/v2/a/manifests/t", data=raw, headers=MANIFEST_TYPE)
    assert answer.status == 201
    assert answer.headers["Warning"] == '299 - "layers that are not distributable are deprecated"'


async def test_nested_and_empty_indexes(client: Client) -> None:
    image = await client.push_image("a")
    inner = kit.index([image])
    await client.push_manifest("a", inner, media_type=OCI_INDEX)
    outer = kit.index(manifests=[kit.descriptor(inner, OCI_INDEX)])
    await client.push_manifest("a", outer, "outer", media_type=OCI_INDEX)
    await client.push_manifest("a", kit.index(), "empty", media_type=OCI_INDEX)


async def test_sparse_pushes_where_configured(start: StartRegistry) -> None:
    client = await start(allow_missing=True)
    await client.push_manifest("a", kit.manifest(layers=[b"never pushed"]), "t")
    await client.push_manifest("a", kit.index([b"nor this"]), "i", media_type=OCI_INDEX)


async def test_read_only(start: StartRegistry) -> None:
    client = await start()
    await client.push_image("a", "1")
    reader = await start(read_only=True)
    assert (await reader.send("GET", "/v2/a/manifests/1")).status == 200
    for method, path in [
        ("PUT", "/v2/a/manifests/1"),
        ("DELETE", "/v2/a/manifests/1"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("DELETE", f"/v2/a/blobs/{D(b'{}')}"),
    ]:
        answer = await reader.send(method, path)
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")


async def test_a_blob_limit(start: StartRegistry) -> None:
    client = await start(limits=LimitSettings(blob_size=100))
    await client.push_blob("a", b"x" * 100)
    too_long = b"y" * 101
    path = f"/v2/a/blobs/uploads/?digest={D(too_long)}"
    answer = await client.send("POST", path, data=too_long)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    location = await client.start_upload("a")
    assert (await client.send("PATCH", location, data=b"x" * 60)).status == 202
    assert (await client.send("PATCH", location, data=b"x" * 60)).status == 413


async def test_failures_of_ours_keep_their_text(
    client: Client, monkeypatch: pytest.MonkeyPatch, faults_expected: None
) -> None:
    from registry.index import SqliteIndex

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret path /srv/x")

    monkeypatch.setattr(SqliteIndex, "catalog", fail)
    answer = await client.send("GET", "/v2/_catalog")
    assert (answer.status, answer.code) == (500, "UNKNOWN")
    assert b"secret" not in answer.body
    assert answer.json["errors"][0]["detail"]["request"]
