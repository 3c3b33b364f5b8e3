"""What every answer has in common: logs, dates, connections, and answers kept ready."""

from __future__ import annotations

import asyncio
import logging
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import pytest

from registry.committer import Committer
from registry.drain import Drain
from registry.index import SqliteIndex
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of


async def exchange(client: Client, request: str) -> bytes:
    """Send a request as text and read until the server closes."""
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace("\n", "\r\n").encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def test_every_request_is_logged_with_an_id(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry.access")
    await client.send("GET", "/v2/")
    await client.send("GET", "/v2/a/manifests/none")
    await client.send("GET", "/nothing")
    records = [record for record in caplog.records if record.name == "registry.access"]
    lines = [record.getMessage().rpartition(" ")[0] for record in records]
    assert lines == [
        "127.0.0.1 GET /v2/ 200",
        "127.0.0.1 GET /v2/a/manifests/none 404",
        "127.0.0.1 GET /nothing 404",
    ]
    ids = {record.request_id for record in records}  # type: ignore[attr-defined]
    assert len(ids) == 3


async def test_ready_answers_are_complete(client: Client) -> None:
    image = await client.push_image("a", "1")
    for _ in range(2):
        answer = await client.send("GET", "/v2/a/manifests/1")
        assert answer.body == image
        assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None
        answer = await client.send("HEAD", "/v2/a/manifests/1")
        assert (answer.body, answer.headers["Content-Length"]) == (b"", str(len(image)))


async def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    image = await client.push_image("a", "1")
    blob, manifest = f"/v2/a/blobs/{digest_of(b'{}')}", "/v2/a/manifests/1"
    one = f"GET {blob} HTTP/1.1\nHost: x\n\n"
    head = f"HEAD {manifest} HTTP/1.1\nHost: x\n\n"
    two = f"GET {manifest} HTTP/1.1\nHost: x\n\n"
    last = f"GET {blob} HTTP/1.1\nHost: x\nConnection: close\n\n"
    answer = await exchange(client, one + head + two + last)
    parts = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    bodies = [part.partition(b"\r\n\r\n")[2] for part in parts]
    assert bodies == [b"{}", b"", image, b"{}"]


@pytest.mark.parametrize("head", ["HTTP/1.0\n\n", "HTTP/1.1\nHost: x\nConnection: close\n\n"])
async def test_connections_that_close(client: Client, head: str) -> None:
    image = await client.push_image("a", "1")
    for _ in range(2):
        answer = await exchange(client, f"GET /v2/a/manifests/1 {head}")
        assert answer.endswith(image)


async def test_extensions_say_what_they_are(client: Client) -> None:
    """extensions/_oci.md of the specification: name, url and endpoints are required."""
    of_registry = (await client.send("GET", "/v2/_oci/ext/discover")).json["extensions"]
    of_repository = (await client.send("GET", "/v2/a/_oci/ext/discover")).json["extensions"]
    assert [one["name"] for one in of_registry] == ["_oci", "_catalog"]
    assert [one["name"] for one in of_repository] == ["_oci"]
    for one in of_registry + of_repository:
        assert one["url"].startswith("https://")
        for endpoint in one["endpoints"]:
            assert (await client.send("GET", f"/v2/{endpoint}")).status == 200


@pytest.mark.parametrize(
    ("version", "expect", "status"),
    [("1.1", "100-continue", 100), ("1.0", "100-continue", 201), ("1.1", "more", 417)],
)
async def test_expectations(client: Client, version: str, expect: str, status: int) -> None:
    """RFC 9110, section 10.1.1: only HTTP/1.1 clients understand the invitation."""
    path = f"/v2/a/blobs/uploads/?digest={digest_of(b'abc')}"
    head = f"POST {path} HTTP/{version}\nHost: x\nContent-Length: 3\nConnection: close\n"
    answer = await exchange(client, f"{head}Expect: {expect}\n\nabc")
    assert int(answer.split()[1]) == status
    assert (b" 201 Created" in answer) == (status != 417)


async def test_no_body_is_invited_from_who_has_no_right(start: StartRegistry) -> None:
    client = await start(read_only=True)
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
    writer.write(b"Expect: 100-continue\r\n\r\n")
    answer = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 405")


async def test_long_manifests_come_whole_from_memory(client: Client) -> None:
    from tests.registry import kit

    await client.push_blob("a", b"{}")
    raw = kit.manifest(annotations={"a": "x" * 500_000})
    await client.push_manifest("a", raw, "1")
    for _ in range(3):
        assert (await client.send("GET", "/v2/a/manifests/1")).body == raw


async def test_a_drain_waits_for_what_is_under_way() -> None:
    drain = Drain()
    assert await drain.wait(1) == 0
    drain.enter()
    assert await drain.wait(0.01) == 1
    waiting = asyncio.create_task(drain.wait(60))
    await asyncio.sleep(0)
    drain.leave()
    assert await waiting == 0
    assert drain.draining


async def test_concurrent_writes_share_commits(tmp_path: Path) -> None:
    index = await asyncio.to_thread(SqliteIndex, tmp_path)
    committer = Committer(index)
    batches: list[int] = []
    apply = index.apply
    index.apply = lambda writes: (batches.append(len(writes)), apply(writes))[1]  # type: ignore[method-assign]
    digests = [digest_of(bytes([n])) for n in range(200)]
    link = partial(partial, index.link_blob)
    await asyncio.gather(*(committer.write("a", link("a", d, 1)) for d in digests))
    assert sum(batches) == 200
    assert len(batches) < 200
    last = asyncio.create_task(committer.write("a", link("b", digests[0], 1)))
    await asyncio.sleep(0)
    await asyncio.to_thread(committer.close)
    await last
    found = await asyncio.to_thread(index.blob_holders, digests[0], limit=9)
    assert found == ["a", "b"]
    await asyncio.to_thread(index.close)
