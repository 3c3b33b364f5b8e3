"""Quotas: judged in the transaction, so nobody passes them, alone or together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from images.mediatype import OCI_MANIFEST
from registry.errors import QuotaError
from registry.quotas import QuotaRule
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of
from tests.registry.store_kit import Store

OCI = {"Content-Type": OCI_MANIFEST}


async def put(client: Client, repository: str, data: bytes) -> tuple[int, str]:
    path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}"
    answer = await client.send("POST", path, data=data)
    return answer.status, "" if answer.status == 201 else answer.code


async def test_bytes(start: StartRegistry) -> None:
    client = await start(quotas=(QuotaRule(repositories="small/*", bytes=1000),))
    assert await put(client, "small/a", b"a" * 600) == (201, "")
    assert await put(client, "small/a", b"b" * 600) == (403, "DENIED")
    assert await put(client, "small/a", b"a" * 600) == (201, ""), "it is counted already"
    assert await put(client, "small/b", b"b" * 600) == (201, ""), "each repository has its own"
    assert await put(client, "large", b"c" * 6000) == (201, "")
    digest = digest_of(b"b" * 600)
    mount = f"/v2/small/a/blobs/uploads/?mount={digest}&from=small/b"
    assert (await client.send("POST", mount)).status == 403, "a mount counts too"
    assert (await client.send("HEAD", f"/v2/small/a/blobs/{digest}")).status == 404
    await client.send("DELETE", f"/v2/small/a/blobs/{digest_of(b'a' * 600)}")
    assert await put(client, "small/a", b"b" * 600) == (201, "")


async def test_a_session_is_refused_at_its_end_and_leaves_nothing(start: StartRegistry) -> None:
    client = await start(quotas=(QuotaRule(bytes=10),))
    location = await client.start_upload("a")
    path = f"{location}?digest={digest_of(b'x' * 11)}"
    answer = await client.send("PUT", path, data=b"x" * 11)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "quota" in answer.json["errors"][0]["message"]
    assert (await client.send("HEAD", f"/v2/a/blobs/{digest_of(b'x' * 11)}")).status == 404


async def test_concurrent_uploads_do_not_pass_it_between_them(start: StartRegistry) -> None:
    client = await start(quotas=(QuotaRule(bytes=10_000),))
    uploads = (put(client, "a", bytes([number]) * 1000) for number in range(30))
    statuses = [status for status, _ in await asyncio.gather(*uploads)]
    assert sorted(statuses) == [201] * 10 + [403] * 20


async def test_an_upload_that_is_too_long_is_refused_early(start: StartRegistry) -> None:
    """Before its bytes are taken where it says its length, else at the first byte too many."""
    client = await start(quotas=(QuotaRule(bytes=1000),))
    location = await client.start_upload("a")
    assert (await client.send("PATCH", location, data=b"x" * 900)).status == 202
    answer = await client.send("PATCH", location, data=b"x" * 200)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "1000 bytes" in answer.json["errors"][0]["message"]

    async def endless() -> AsyncIterator[bytes]:
        yield b"y" * 200

    assert (await client.send("PATCH", location, data=endless())).status == 413
    assert (await client.send("GET", location)).headers["Range"] == "0-899"
    digest = digest_of(b"x" * 900)
    assert (await client.send("PUT", f"{location}?digest={digest}")).status == 201
    assert await put(client, "a", b"x" * 900) == (201, ""), "what is there takes no room"


async def test_tags(start: StartRegistry) -> None:
    client = await start(quotas=(QuotaRule(tags=2),))
    raw = await client.push_image("a", "1", "2")
    for path in ("/v2/a/manifests/3", f"/v2/a/manifests/{digest_of(raw)}?tag=3&tag=1"):
        answer = await client.send("PUT", path, data=raw, headers=OCI)
        assert (answer.status, answer.code) == (403, "DENIED")
    assert (await client.send("PUT", "/v2/a/manifests/2", data=raw, headers=OCI)).status == 201
    assert (await client.send("DELETE", "/v2/a/manifests/1")).status == 202
    assert (await client.send("PUT", "/v2/a/manifests/3", data=raw, headers=OCI)).status == 201


def test_repositories_counted_together(tmp_path: Path) -> None:
    rule = QuotaRule(repositories="team/**", bytes=1000, together=True)
    store = Store(tmp_path, quotas=[rule])
    store.push_blob("team/a", b"a" * 600)
    store.push_blob("team", b"t" * 600)
    store.push_blob("teams/x", b"s" * 600)
    with pytest.raises(QuotaError, match="1200"):
        store.push_blob("team/b/c", b"b" * 600)
    store.push_blob("team/b", b"b" * 300)
    assert store.index.catalog(last="", limit=9) == ["team", "team/a", "team/b", "teams/x"]
    store.close()


def test_a_lowered_quota_lets_go_but_not_grow(tmp_path: Path) -> None:
    store = Store(tmp_path)
    raw = store.push_image("a", "1", layers=[b"x" * 500])
    store.close()
    store = Store(tmp_path, quotas=[QuotaRule(bytes=100, tags=0)])
    store.push_image("a", "1", layers=[b"x" * 500])
    with pytest.raises(QuotaError):
        store.push_blob("a", b"more")
    assert store.delete("a", digest_of(raw))
    store.close()
