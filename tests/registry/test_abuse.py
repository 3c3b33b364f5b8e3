"""Attacks and accidents that other registries fell for, one test or group per case.

The numbers are those of ``tests/test_abuses.py``, which also knows where the others are.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from images.mediatype import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry import kit
from tests.registry.conftest import StartRegistry
from tests.registry.contract import holds
from tests.registry.kit import Client, digest_of

D = digest_of
LIMIT = 4 << 20
OCI = {"Content-Type": OCI_MANIFEST}


def raw_request(client: Client, line: str) -> Any:
    """Send a request line that no client library would; returns a coroutine of the answer."""

    async def send() -> bytes:
        host, port = client.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(line.encode("latin-1") + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    return send()


# 2: the disk is full


async def test_abuse_02_disk_full_during_a_chunk(
    client: Client, monkeypatch: pytest.MonkeyPatch, faults_expected: None
) -> None:
    location = await client.start_upload("a")
    assert (await client.send("PATCH", location, data=b"abc")).status == 202

    def full(descriptor: int, buffers: Any, offset: int) -> int:
        os.pwrite(descriptor, b"x", offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("registry.storage.os.pwritev", full)
        answer = await client.send("PATCH", location, data=b"def")
        assert (answer.status, answer.code) == (507, "UNAVAILABLE")
    assert (await client.send("GET", location)).headers["Range"] == "0-2"
    answer = await client.send("PUT", f"{location}?digest={D(b'abcdef')}", data=b"def")
    assert answer.status == 201


async def test_abuse_02_disk_full_while_the_index_commits(
    client: Client, monkeypatch: pytest.MonkeyPatch, faults_expected: None
) -> None:
    import sqlite3

    from registry.index import SqliteIndex

    def full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    image = await client.push_image("a", "1")
    path = "/v2/a/manifests/2"
    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, "put_manifest", full)
        answer = await client.send("PUT", path, data=image, headers=OCI)
        assert (answer.status, answer.code) == (507, "UNAVAILABLE")
    assert (await client.send("GET", path)).status == 404
    assert (await client.send("PUT", path, data=image, headers=OCI)).status == 201


# 5: delete and push the same again, without a restart


async def test_abuse_05_delete_and_push_again(client: Client) -> None:
    layer = b"layer" * 1000
    for _ in range(3):
        image = await client.push_image("a", "1", layers=[layer])
        assert (await client.send("GET", "/v2/a/manifests/1")).body == image
        assert (await client.send("GET", f"/v2/a/blobs/{D(layer)}")).body == layer
        assert (await client.send("DELETE", f"/v2/a/manifests/{D(image)}")).status == 202
        for blob in (layer, b"{}"):
            assert (await client.send("DELETE", f"/v2/a/blobs/{D(blob)}")).status == 202
            assert (await client.send("HEAD", f"/v2/a/blobs/{D(blob)}")).status == 404
        answer = await client.send("PUT", "/v2/a/manifests/1", data=image, headers=OCI)
        assert answer.code == "MANIFEST_BLOB_UNKNOWN"


# 6: two repositories share a blob


async def test_abuse_06_deleting_in_one_repository_leaves_the_other(client: Client) -> None:
    for repository in ("a", "b"):
        await client.push_blob(repository, b"shared")
    assert (await client.send("DELETE", f"/v2/a/blobs/{D(b'shared')}")).status == 202
    assert (await client.send("GET", f"/v2/a/blobs/{D(b'shared')}")).status == 404
    assert (await client.send("GET", f"/v2/b/blobs/{D(b'shared')}")).body == b"shared"


# 8: page sizes


@pytest.mark.parametrize(
    "path", ["/v2/_catalog", "/v2/a/tags/list", f"/v2/a/referrers/{kit.MISSING}"]
)
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("n=1000000000", 200),
        ("n=" + "9" * 4000, 200),
        ("n=-1", 400),
        ("n=abc", 400),
        ("n=1e9", 400),
        ("last=" + "z" * 6000, 200),
        ("last=%00%ff", 200),
        ("last=../../etc/passwd", 200),
    ],
)
async def test_abuse_08_page_sizes_are_ours(
    client: Client, path: str, query: str, status: int
) -> None:
    await client.push_image("a", "1")
    answer = await client.send("GET", f"{path}?{query}")
    assert answer.status == status
    assert len(answer.body) < 1000


# 9: manifests that are too much


async def test_abuse_09_four_mebibytes_and_no_more(client: Client) -> None:
    await client.push_blob("a", b"{}")
    frame = len(kit.manifest(annotations={"a": ""}))
    fits = kit.manifest(annotations={"a": "x" * (LIMIT - frame)})
    assert len(fits) == LIMIT
    await client.push_manifest("a", fits, "fits")
    over = kit.manifest(annotations={"a": "x" * (LIMIT - frame + 1)})
    answer = await client.send("PUT", "/v2/a/manifests/over", data=over, headers=OCI)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


async def test_abuse_09_endless_chunked_body(client: Client) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 << 20:
            sent += 1 << 16
            yield b" " * (1 << 16)

    try:
        answer = await client.send("PUT", "/v2/a/manifests/t", data=endless(), headers=OCI)
        assert answer.status == 413
    except (OSError, aiohttp.ServerDisconnectedError):
        pass  # the server may hang up on who goes on sending
    assert (await client.send("GET", "/v2/a/manifests/t")).status == 404


async def test_abuse_09_a_hundred_thousand_layers(client: Client) -> None:
    await client.push_blob("a", b"{}")
    layer = kit.descriptor(b"{}", "a/b")
    layers = [layer] * (LIMIT // (len(json.dumps(layer)) + 2) - 10)
    document = {**json.loads(kit.manifest()), "layers": layers}
    raw = json.dumps(document).encode()
    assert len(layers) > 25_000
    await client.push_manifest("a", raw, "t")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 4_000_000,
        kit.manifest().replace(b'"schemaVersion": 2', b'"schemaVersion": NaN'),
        kit.manifest()[:-1] + b', "config": {}}',
        kit.manifest()[:-1] + b', "x": NaN}',
        kit.manifest()[:-1] + b', "x": Infinity}',
        b"\xff\xfe" + kit.manifest(),
        b"\xef\xbb\xbf" + kit.manifest(),
        b"null",
        b"[]",
        b'"text"',
        kit.manifest(artifactType=7),
        kit.manifest(annotations={"a": 1}),
        kit.manifest(subject="sha256:x"),
        kit.manifest(subject={"mediaType": "a/b", "size": 10**40, "digest": D(b"")}),
        kit.replaced(kit.manifest(), config={"mediaType": "a/b", "size": -1, "digest": D(b"")}),
        kit.replaced(
            kit.manifest(), config={"mediaType": "a/b", "size": 1, "digest": "sha256:../../x"}
        ),
        kit.manifest(schemaVersion=1),
    ],
    ids=range(18),
)
async def test_abuse_09_strange_json(client: Client, raw: bytes) -> None:
    await client.push_blob("a", b"{}")
    answer = await client.send("PUT", "/v2/a/manifests/t", data=raw, headers=OCI)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "<script>", "é" * 1000])
async def test_abuse_09_strange_strings(client: Client, text: str) -> None:
    await client.push_blob("a", b"{}")
    subject = kit.descriptor(b"s", OCI_MANIFEST)
    raw = kit.manifest(subject=subject, annotations={text: text})
    await client.push_manifest("a", raw, "t")
    (listed,) = (await client.send("GET", f"/v2/a/referrers/{D(b's')}")).json["manifests"]
    assert listed["annotations"] == {text: text}
    raw = kit.manifest(subject=subject, artifactType=text)
    answer = await client.send("PUT", "/v2/a/manifests/u", data=raw, headers=OCI)
    assert answer.status == (201 if text.isascii() else 400)


# 10: media types that disagree


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ({"manifests": []}, OCI_MANIFEST),
        ({"manifests": []}, OCI_INDEX),
        ({"manifests": [], "mediaType": OCI_INDEX}, OCI_INDEX),
        ({}, OCI_INDEX),
        ({}, DOCKER_MANIFEST),
        ({"mediaType": DOCKER_INDEX}, OCI_MANIFEST),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({}, "text/html"),
        ({"mediaType": "text/html"}, "text/html"),
    ],
)
async def test_abuse_10_type_confusion(
    client: Client, document: dict[str, Any], content_type: str
) -> None:
    """CVE-2021-41190: no document may be read as two things."""
    await client.push_blob("a", b"{}")
    headers = {"Content-Type": content_type}
    raw = kit.manifest(**document)
    answer = await client.send("PUT", "/v2/a/manifests/t", data=raw, headers=headers)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


async def test_abuse_10_an_index_of_blobs_and_a_manifest_of_manifests(client: Client) -> None:
    """Content of the wrong kind does not count as present."""
    image = await client.push_image("a", "1")
    raw = kit.index([b"{}"])
    answer = await client.send(
        "PUT", "/v2/a/manifests/i", data=raw, headers={"Content-Type": OCI_INDEX}
    )
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"
    answer = await client.send(
        "PUT", "/v2/a/manifests/m", data=kit.manifest(layers=[image]), headers=OCI
    )
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


# 11: digests


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "a" * 128,
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        "sha1:" + "a" * 40,
        "md5:" + "a" * 32,
        "sha256:..%2f..%2fetc%2fpasswd",
        "sha256:../..",
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 63 + "%0a",
        "sha256:" + "a" * 64 + "%00",
        ":" + "a" * 64,
        "sha256+b64:" + "a" * 64,
    ],
)
async def test_abuse_11_digest_confusion(client: Client, digest: str) -> None:
    for path in (
        f"/v2/a/blobs/{digest}",
        f"/v2/a/manifests/{digest}",
        f"/v2/a/referrers/{digest}",
    ):
        answer = await client.send("GET", path)
        assert answer.status in (400, 404), path
        assert answer.code in ("DIGEST_INVALID", "NAME_INVALID", "UNSUPPORTED"), path
    for query in (f"digest={digest}", f"mount={digest}"):
        answer = await client.send("POST", f"/v2/a/blobs/uploads/?{query}", data=b"x")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


async def test_abuse_11_algorithms_are_not_aliases(client: Client) -> None:
    """A blob known by sha256 was not pushed by sha512, and the other way round."""
    await client.push_blob("a", b"x", "sha512")
    assert (await client.send("GET", f"/v2/a/blobs/{D(b'x')}")).status == 404
    assert (await client.send("GET", f"/v2/a/blobs/{D(b'x', 'sha512')}")).status == 200


# 12: paths


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd",
        "/v2/../etc/tags/list",
        "/v2/a/../../b/tags/list",
        "/v2/%2e%2e/%2e%2e/tags/list",
        "/v2/a%2f..%2fb/tags/list",
        "/v2/a%00b/tags/list",
        "/v2/a\\b/tags/list",
        "/v2/%c0%ae%c0%ae/tags/list",
        "/v2/%ff/tags/list",
        "/v2/a/manifests/..",
        "/v2/a/manifests/%2e%2e%2fx",
        "/v2/a/manifests/x%00",
        "/v2/a/blobs/uploads/..",
        "/v2/a/blobs/uploads/..%2f..%2findex.db",
        "/v2/a/blobs/uploads/%00",
        "/v2/./tags/list",
        "/v2//a/tags/list",
        "//v2/a/tags/list",
        "/v2/a/tags/list%00",
        "/v2/" + "a/" * 4000 + "tags/list",
    ],
)
async def test_abuse_12_path_traversal(client: Client, path: str) -> None:
    await client.push_image("b", "1")
    answer = await raw_request(client, f"GET {path}")
    assert answer.split()[1] in (b"400", b"404", b"414")
    assert b"root:" not in answer


async def test_abuse_12_nothing_but_our_files_appear(client: Client, tmp_path: Path) -> None:
    for path in ("/v2/../x/blobs/uploads/", "/v2/a%2f..%2fb/blobs/uploads/"):
        assert (await raw_request(client, f"POST {path}")).split()[1] == b"400"
    assert {p.name for p in tmp_path.iterdir()} == {"registry"}
    assert not list((tmp_path / "registry" / "uploads").iterdir())


# 16 and 17: whose blob it is


@holds("Bytes belong to nobody, links do.")
async def test_abuse_16_content_of_other_repositories_is_not_readable(client: Client) -> None:
    """CVE-2024-39897: bytes are shared, the right to read them is not."""
    image = await client.push_image("private", "1", layers=[b"secret" * 20_000])
    for blob in (b"{}", b"secret" * 20_000):
        for method in ("GET", "HEAD"):
            assert (await client.send(method, f"/v2/other/blobs/{D(blob)}")).status == 404
    assert (await client.send("GET", f"/v2/other/manifests/{D(image)}")).status == 404
    answer = await client.send("PUT", "/v2/other/manifests/1", data=image, headers=OCI)
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


async def test_abuse_16_answers_in_memory_belong_to_their_repository(client: Client) -> None:
    image = await client.push_image("private", "1")
    for _ in range(2):
        assert (await client.send("GET", f"/v2/private/blobs/{D(b'{}')}")).status == 200
        assert (await client.send("GET", f"/v2/private/manifests/{D(image)}")).status == 200
    assert (await client.send("GET", f"/v2/other/blobs/{D(b'{}')}")).status == 404
    assert (await client.send("GET", f"/v2/other/manifests/{D(image)}")).status == 404


@pytest.mark.parametrize("data", [b"small", b"large" * 50_000])
async def test_abuse_17_a_deleted_link_stays_deleted(client: Client, data: bytes) -> None:
    """CVE-2026-35172: a peer's read must not bring the blob back."""
    for repository in ("a", "b"):
        await client.push_blob(repository, data)
        assert (await client.send("GET", f"/v2/{repository}/blobs/{D(data)}")).status == 200
    assert (await client.send("DELETE", f"/v2/a/blobs/{D(data)}")).status == 202
    for _ in range(2):
        assert (await client.send("GET", f"/v2/b/blobs/{D(data)}")).body == data
        assert (await client.send("GET", f"/v2/a/blobs/{D(data)}")).status == 404
        assert (await client.send("HEAD", f"/v2/a/blobs/{D(data)}")).status == 404


@holds("What is deleted is gone at once and stays gone.")
async def test_abuse_17_also_when_another_process_deletes(start: StartRegistry) -> None:
    one, two = await start(), await start()
    image = await one.push_image("a", "1", layers=[b"layer" * 50_000])
    paths = [
        f"/v2/a/blobs/{D(b'{}')}",
        f"/v2/a/blobs/{D(b'layer' * 50_000)}",
        f"/v2/a/manifests/{D(image)}",
        "/v2/a/manifests/1",
    ]
    for path in paths:
        for _ in range(2):
            assert (await one.send("GET", path)).status == 200
    for path in paths[:3]:
        assert (await two.send("DELETE", path)).status == 202
    for path in paths:
        assert (await one.send("GET", path)).status == 404, path
        assert (await one.send("HEAD", path)).status == 404, path


@pytest.mark.parametrize(
    ("path", "look_up"), [("blobs/" + D(b"{}"), "blob"), ("manifests/1", "tagged_manifest")]
)
async def test_abuse_17_a_read_that_a_delete_overtakes_is_not_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, look_up: str
) -> None:
    """The delete happens after the reader saw the link, before it keeps the answer."""
    from registry.index import SqliteIndex

    await client.push_image("a", "1")
    loop = asyncio.get_running_loop()
    read = getattr(SqliteIndex, look_up)

    def overtaken(index: SqliteIndex, repository: str, name: str) -> Any:
        found = read(index, repository, name)
        delete = client.send("DELETE", f"/v2/a/{path}")
        asyncio.run_coroutine_threadsafe(delete, loop).result(60)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, look_up, overtaken)
        assert (await client.send("GET", f"/v2/a/{path}")).status == 200
    assert (await client.send("GET", f"/v2/a/{path}")).status == 404


# 18: deletion switched off


async def test_abuse_18_no_delete_slips_through(start: StartRegistry) -> None:
    client = await start(allow_delete=False)
    image = await client.push_image("a", "1")
    for path in ("manifests/1", f"manifests/{D(image)}", f"blobs/{D(b'{}')}"):
        answer = await client.send("DELETE", f"/v2/a/{path}")
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert (await client.send("GET", f"/v2/a/{path}")).status == 200
    location = await client.start_upload("a")
    assert (await client.send("DELETE", location)).status == 204


# 30: odd tags and subjects


@pytest.mark.parametrize(
    "tag", ["sha256-x.sig", "sha256-" + "a" * 64, "sha256-" + "a" * 64 + ".sig", "sha512-.att"]
)
async def test_abuse_30_malformed_signature_tags(client: Client, tag: str) -> None:
    image = await client.push_image("a", tag)
    assert (await client.send("GET", f"/v2/a/manifests/{tag}")).body == image
    assert (await client.send("DELETE", f"/v2/a/manifests/{tag}")).status == 202


async def test_abuse_30_a_subject_of_itself_and_of_absurd_size(client: Client) -> None:
    await client.push_blob("a", b"{}")
    subject = {"mediaType": OCI_MANIFEST, "digest": D(b"x"), "size": 2**63 - 1}
    digest = await client.push_manifest("a", kit.manifest(subject=subject))
    assert (await client.send("DELETE", f"/v2/a/manifests/{digest}")).status == 202
    assert (await client.send("GET", f"/v2/a/referrers/{D(b'x')}")).json["manifests"] == []
