"""One table of requests against one preloaded registry: status, headers and body of each answer.

The cases follow the endpoint table of the OCI distribution specification 1.1. Every case finds the
registry as ``preloaded`` left it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from images.mediatype import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry import kit
from tests.registry.conftest import StartRegistry
from tests.registry.kit import MISSING, Client, digest_of

LAYER = bytes(range(256)) * 8
BIG = b"0123456789abcdef" * 8192
IMAGE = kit.manifest(layers=[LAYER])
DOCKER = kit.docker_manifest(b"{}", [LAYER])
INDEX = kit.index([IMAGE])
SUBJECT = kit.descriptor(IMAGE, OCI_MANIFEST)
SBOM = kit.manifest(
    subject=SUBJECT, artifactType="application/vnd.example.sbom", annotations={"a": "1"}
)
SIGNATURE = kit.manifest(config=b"[]", subject=SUBJECT)
ATTACHED_INDEX = kit.index(subject=SUBJECT)
UNTAGGED = kit.manifest(annotations={"not": "tagged"})

D = digest_of
VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
JSON = {"Content-Type": "application/json"}
ANY = "\0any"


@dataclass(frozen=True)
class Case:
    """A request and what must come back. A header expected as None must be absent."""

    method: str
    path: str
    status: int
    headers: dict[str, str | None] = field(default_factory=dict)
    body: Any = None
    code: str | None = None
    send: bytes | None = None
    send_headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path[:90]} {self.status} {self.send_headers or ''}"


def content(raw: bytes, media_type: str, digest: str | None = None) -> dict[str, str | None]:
    digest = digest or D(raw)
    return {
        "Content-Type": media_type,
        "Content-Length": str(len(raw)),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }


OCTETS = "application/octet-stream"
BLOB = f"/v2/lib/app/blobs/{D(LAYER)}"
BIG_BLOB = f"/v2/lib/app/blobs/{D(BIG)}"
TAG = "/v2/lib/app/manifests/1"

READS = [
    Case("GET", "/v2/", 200, JSON, b"{}"),
    Case("HEAD", "/v2/", 200, JSON, b""),
    Case("GET", "/v2", 200, JSON, b"{}"),
    Case("GET", "/", 404, JSON, code="UNSUPPORTED"),
    Case("GET", "/v3/", 404, JSON, code="UNSUPPORTED"),
    Case("GET", "/v2/lib/app", 404, JSON, code="UNSUPPORTED"),
    Case("POST", "/v2/", 405, {"Allow": "GET, HEAD"}, code="UNSUPPORTED"),
    Case("PUT", "/v2/lib/app/tags/list", 405, {"Allow": "GET"}, code="UNSUPPORTED"),
    Case("TRACE", TAG, 405, code="UNSUPPORTED"),
    # manifests
    Case("GET", TAG, 200, content(IMAGE, OCI_MANIFEST), IMAGE),
    Case("HEAD", TAG, 200, content(IMAGE, OCI_MANIFEST), b""),
    Case("GET", f"/v2/lib/app/manifests/{D(IMAGE)}", 200, content(IMAGE, OCI_MANIFEST), IMAGE),
    Case("GET", "/v2/lib/app/manifests/docker", 200, content(DOCKER, DOCKER_MANIFEST), DOCKER),
    Case("GET", "/v2/lib/app/manifests/multi", 200, content(INDEX, OCI_INDEX), INDEX),
    Case(
        "GET",
        f"/v2/lib/app/manifests/{D(IMAGE, 'sha512')}",
        200,
        content(IMAGE, OCI_MANIFEST, D(IMAGE, "sha512")),
        IMAGE,
    ),
    Case("GET", "/v2/lib/app/manifests/none", 404, JSON, code="MANIFEST_UNKNOWN"),
    Case("HEAD", "/v2/lib/app/manifests/none", 404, JSON, b""),
    Case("GET", f"/v2/lib/app/manifests/{MISSING}", 404, code="MANIFEST_UNKNOWN"),
    Case("GET", f"/v2/lib/app/manifests/{D(LAYER)}", 404, code="MANIFEST_UNKNOWN"),
    Case("GET", "/v2/lib/nothing/manifests/1", 404, code="NAME_UNKNOWN"),
    Case("GET", "/v2/lib/app/manifests/sha256:bad", 400, code="DIGEST_INVALID"),
    Case("GET", "/v2/lib/app/manifests/-bad", 400, code="TAG_INVALID"),
    Case("GET", "/v2/LIB/manifests/1", 400, code="NAME_INVALID"),
    Case(
        "GET",
        TAG,
        304,
        {"ETag": f'"{D(IMAGE)}"', "Docker-Content-Digest": D(IMAGE)},
        b"",
        send_headers={"If-None-Match": f'"{D(IMAGE)}"'},
    ),
    Case("HEAD", TAG, 304, body=b"", send_headers={"If-None-Match": f'W/"x", W/"{D(IMAGE)}"'}),
    Case("GET", TAG, 304, body=b"", send_headers={"If-None-Match": "*"}),
    Case("GET", TAG, 200, body=IMAGE, send_headers={"If-None-Match": f'"{MISSING}"'}),
    Case("GET", TAG, 200, body=IMAGE, send_headers={"Accept": DOCKER_MANIFEST}),
    # blobs
    Case("GET", BLOB, 200, {**content(LAYER, OCTETS), "Accept-Ranges": "bytes"}, LAYER),
    Case("HEAD", BLOB, 200, {**content(LAYER, OCTETS), "Accept-Ranges": "bytes"}, b""),
    Case("GET", BIG_BLOB, 200, {**content(BIG, OCTETS), "Accept-Ranges": "bytes"}, BIG),
    Case("HEAD", BIG_BLOB, 200, content(BIG, OCTETS), b""),
    Case("GET", f"/v2/lib/app/blobs/{D(b'')}", 200, content(b"", OCTETS), b""),
    Case(
        "GET",
        f"/v2/lib/app/blobs/{D(LAYER, 'sha512')}",
        200,
        content(LAYER, OCTETS, D(LAYER, "sha512")),
        LAYER,
    ),
    Case("GET", f"/v2/lib/app/blobs/sha256%3A{D(LAYER)[7:]}", 200, content(LAYER, OCTETS), LAYER),
    Case("GET", f"/v2/lib/app/blobs/{MISSING}", 404, code="BLOB_UNKNOWN"),
    Case("GET", f"/v2/lib/nothing/blobs/{D(LAYER)}", 404, code="BLOB_UNKNOWN"),
    Case("GET", f"/v2/lib/app/blobs/{D(IMAGE)}", 404, code="BLOB_UNKNOWN"),
    Case("GET", "/v2/lib/app/blobs/sha256:bad", 400, code="DIGEST_INVALID"),
    Case("GET", BLOB, 304, body=b"", send_headers={"If-None-Match": f'"{D(LAYER)}"'}),
    Case(
        "GET",
        BLOB,
        206,
        {"Content-Range": "bytes 2000-2047/2048", "Content-Length": "48"},
        LAYER[2000:],
        send_headers={"Range": "bytes=2000-5000"},
    ),
    Case("GET", BLOB, 206, body=LAYER[-500:], send_headers={"Range": "bytes=-500"}),
    Case("GET", BLOB, 206, body=LAYER[:1], send_headers={"Range": "bytes=0-0"}),
    Case("GET", BLOB, 206, body=LAYER, send_headers={"Range": "bytes=0-"}),
    Case(
        "GET",
        BIG_BLOB,
        206,
        {"Content-Range": f"bytes 70000-131071/{len(BIG)}"},
        BIG[70000:],
        send_headers={"Range": "bytes=70000-"},
    ),
    Case(
        "GET",
        BLOB,
        416,
        {"Content-Range": "bytes */2048"},
        code="RANGE_INVALID",
        send_headers={"Range": "bytes=500-0"},
    ),
    Case("GET", BLOB, 416, code="RANGE_INVALID", send_headers={"Range": "bytes=5000-10000"}),
    Case("GET", BLOB, 200, body=LAYER, send_headers={"Range": "bytes=0-1,4-5"}),
    Case("GET", BLOB, 200, body=LAYER, send_headers={"Range": "bytes=0-1", "If-Range": '"x"'}),
    Case(
        "GET",
        BLOB,
        206,
        body=LAYER[:2],
        send_headers={"Range": "bytes=0-1", "If-Range": f'"{D(LAYER)}"'},
    ),
    Case("HEAD", BLOB, 200, content(LAYER, OCTETS), b"", send_headers={"Range": "bytes=0-1"}),
    # listings
    Case(
        "GET",
        "/v2/lib/app/tags/list",
        200,
        {**JSON, "Link": None},
        {"name": "lib/app", "tags": ["1", "A", "docker", "multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=2",
        200,
        {"Link": '</v2/lib/app/tags/list?n=2&last=A>; rel="next"'},
        {"name": "lib/app", "tags": ["1", "A"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=5",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": ["1", "A", "docker", "multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=0",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": []},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?last=docker",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": ["multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?last=absent&n=1",
        200,
        {"Link": '</v2/lib/app/tags/list?n=1&last=docker>; rel="next"'},
        {"name": "lib/app", "tags": ["docker"]},
    ),
    Case("GET", "/v2/lib/app/tags/list?last=zz", 200, body={"name": "lib/app", "tags": []}),
    Case("GET", "/v2/lib/app-blobs/tags/list", 200, body={"name": "lib/app-blobs", "tags": []}),
    Case("GET", "/v2/lib/nothing/tags/list", 404, code="NAME_UNKNOWN"),
    Case("GET", "/v2/lib/app/tags/list?n=-1", 400, code="PAGINATION_NUMBER_INVALID"),
    Case("GET", "/v2/lib/app/tags/list?n=x", 400, code="PAGINATION_NUMBER_INVALID"),
    Case(
        "GET",
        "/v2/_catalog",
        200,
        {"Link": None},
        {"repositories": ["lib", "lib/app", "lib/app-blobs"]},
    ),
    Case(
        "GET",
        "/v2/_catalog?n=1&last=lib",
        200,
        {"Link": '</v2/_catalog?n=1&last=lib%2Fapp>; rel="next"'},
        {"repositories": ["lib/app"]},
    ),
    # referrers
    Case(
        "GET",
        f"/v2/lib/app/referrers/{MISSING}",
        200,
        {"Content-Type": OCI_INDEX, "Link": None, "OCI-Filters-Applied": None},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []},
    ),
    Case("GET", f"/v2/lib/nothing/referrers/{MISSING}", 200),
    Case("GET", "/v2/lib/app/referrers/sha256:x", 400, code="DIGEST_INVALID"),
    Case("GET", "/v2/lib/app/referrers/latest", 400, code="DIGEST_INVALID"),
    Case(
        "GET",
        f"/v2/lib/app/referrers/{D(IMAGE)}?artifactType=application/vnd.example.sbom",
        200,
        {"OCI-Filters-Applied": "artifactType"},
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": D(SBOM),
                    "size": len(SBOM),
                    "artifactType": "application/vnd.example.sbom",
                    "annotations": {"a": "1"},
                }
            ],
        },
    ),
    Case(
        "GET",
        f"/v2/lib/app/referrers/{D(IMAGE)}?artifactType=none/such",
        200,
        {"OCI-Filters-Applied": "artifactType"},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []},
    ),
]

MANIFEST_TYPE = {"Content-Type": OCI_MANIFEST}
WRITES = [
    # manifests
    Case(
        "PUT",
        "/v2/lib/app/manifests/new",
        201,
        {
            "Location": "/v2/lib/app/manifests/new",
            "Docker-Content-Digest": D(IMAGE),
            "OCI-Subject": None,
            "OCI-Tag": None,
        },
        b"",
        send=IMAGE,
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(IMAGE)}?tag=a&tag=b&tag=a",
        201,
        {"Location": f"/v2/lib/app/manifests/{D(IMAGE)}", "OCI-Tag": "a, b"},
        send=IMAGE,
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(IMAGE)}?" + "&".join(f"tag=t{i}" for i in range(129)),
        414,
        code="TAG_INVALID",
        send=IMAGE,
    ),
    Case("PUT", f"/v2/lib/app/manifests/{D(IMAGE)}?tag=-x", 400, code="TAG_INVALID", send=IMAGE),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(SBOM)}",
        201,
        {"OCI-Subject": D(IMAGE)},
        send=SBOM,
        send_headers=MANIFEST_TYPE,
    ),
    Case("PUT", TAG, 201, send=IMAGE, send_headers={"Content-Type": OCI_MANIFEST + "; charset=u"}),
    Case("PUT", TAG, 201, send=IMAGE, send_headers={"Content-Type": ""}),
    Case("PUT", f"/v2/lib/app/manifests/{MISSING}", 400, code="DIGEST_INVALID", send=IMAGE),
    Case("PUT", "/v2/lib/app/manifests/sha256:bad", 400, code="DIGEST_INVALID", send=IMAGE),
    Case("PUT", TAG, 400, code="MANIFEST_INVALID", send=b"", send_headers=MANIFEST_TYPE),
    Case("PUT", TAG, 400, code="MANIFEST_INVALID", send=b"not json", send_headers=MANIFEST_TYPE),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_INVALID",
        send=IMAGE,
        send_headers={"Content-Type": DOCKER_MANIFEST},
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_BLOB_UNKNOWN",
        send=kit.manifest(layers=[b"never pushed"]),
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_BLOB_UNKNOWN",
        send=kit.index([b"never pushed"]),
        send_headers={"Content-Type": OCI_INDEX},
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="SIZE_INVALID",
        send=kit.manifest(layers=[LAYER]).replace(b'"size": 2048', b'"size": 2047'),
        send_headers=MANIFEST_TYPE,
    ),
    Case("DELETE", TAG, 202, VERSION, b""),
    Case("DELETE", f"/v2/lib/app/manifests/{D(UNTAGGED)}", 202, body=b""),
    Case("DELETE", "/v2/lib/app/manifests/none", 404, code="MANIFEST_UNKNOWN"),
    Case("DELETE", f"/v2/lib/app/manifests/{MISSING}", 404, code="MANIFEST_UNKNOWN"),
    Case("DELETE", "/v2/lib/nothing/manifests/1", 404, code="NAME_UNKNOWN"),
    # blobs and uploads
    Case("DELETE", BLOB, 202, body=b""),
    Case("DELETE", f"/v2/lib/app/blobs/{MISSING}", 404, code="BLOB_UNKNOWN"),
    Case("DELETE", f"/v2/lib/nothing/blobs/{D(LAYER)}", 404, code="BLOB_UNKNOWN"),
    Case("POST", "/v2/lib/app/blobs/uploads/", 202, {"Range": "0-0", "Docker-Upload-UUID": ANY}),
    Case("POST", "/v2/lib/app/blobs/uploads", 202, {"Location": ANY}),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest-algorithm=sha512", 202),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest-algorithm=md5", 400, code="DIGEST_INVALID"),
    Case("POST", "/v2/Lib/blobs/uploads/", 400, code="NAME_INVALID"),
    Case(
        "POST",
        f"/v2/lib/app/blobs/uploads/?digest={D(b'whole')}",
        201,
        {
            "Location": f"/v2/lib/app/blobs/{D(b'whole')}",
            "Docker-Content-Digest": D(b"whole"),
        },
        b"",
        send=b"whole",
    ),
    Case(
        "POST",
        f"/v2/lib/app/blobs/uploads/?digest={D(b'whole')}",
        400,
        code="DIGEST_INVALID",
        send=b"another",
    ),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest=sha256:bad", 400, code="DIGEST_INVALID"),
    Case(
        "POST",
        f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=lib/app",
        201,
        {"Location": f"/v2/other/blobs/{D(LAYER)}", "Docker-Content-Digest": D(LAYER)},
        b"",
    ),
    Case("POST", f"/v2/other/blobs/uploads/?mount={D(LAYER)}", 201),
    Case("POST", f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=lib", 202, {"Location": ANY}),
    Case("POST", f"/v2/other/blobs/uploads/?mount={MISSING}&from=lib/app", 202),
    Case("POST", f"/v2/other/blobs/uploads/?mount={MISSING}", 202),
    Case(
        "POST",
        f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=..",
        400,
        code="NAME_INVALID",
    ),
    Case("PATCH", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case("GET", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case("DELETE", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case(
        "PUT",
        f"/v2/lib/app/blobs/uploads/{'0' * 32}?digest={D(b'')}",
        404,
        code="BLOB_UPLOAD_UNKNOWN",
    ),
    Case("PUT", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 400, code="DIGEST_INVALID"),
]


@pytest.fixture
async def preloaded(client: Client) -> Client:
    for blob in (b"{}", b"[]", b"", LAYER, BIG):
        await client.push_blob("lib/app", blob)
    await client.push_blob("lib/app", LAYER, "sha512")
    await client.push_manifest("lib/app", IMAGE, "1", "A", "z", D(IMAGE, "sha512"))
    await client.push_manifest("lib/app", UNTAGGED)
    await client.push_manifest("lib/app", DOCKER, "docker", media_type=DOCKER_MANIFEST)
    await client.push_manifest("lib/app", INDEX, "multi", media_type=OCI_INDEX)
    await client.push_manifest("lib/app", SBOM)
    await client.push_blob("lib/app-blobs", b"{}")
    await client.push_blob("lib", b"{}")
    return client


@pytest.mark.parametrize("case", READS + WRITES, ids=str)
async def test_request(preloaded: Client, case: Case) -> None:
    answer = await preloaded.send(case.method, case.path, data=case.send, headers=case.send_headers)
    check(answer, case)


@pytest.mark.parametrize("case", READS, ids=str)
async def test_reads_answer_the_same_from_memory(preloaded: Client, case: Case) -> None:
    for _ in range(2):
        answer = await preloaded.send(
            case.method, case.path, data=case.send, headers=case.send_headers
        )
    check(answer, case)


def check(answer: kit.Answer, case: Case) -> None:
    assert answer.status == case.status, answer
    for name, value in {**VERSION, **case.headers}.items():
        if value == ANY:
            assert answer.headers.get(name), name
        else:
            assert answer.headers.get(name) == value, name
    if case.code is not None:
        assert answer.headers["Content-Type"] == "application/json"
        (error,) = answer.json["errors"]
        assert error["code"] == case.code
        assert error["message"]
    elif isinstance(case.body, dict):
        assert answer.json == case.body
    elif case.body is not None:
        assert answer.body == case.body


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
    await client.push_manifest(
        "a",
        kit.manifest(layers=()).replace(
            b'"layers": []', b'"layers": ' + json.dumps([foreign, local]).encode()
        ),
    )


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
    client = await start(blob_limit=100)
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
