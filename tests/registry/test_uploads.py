"""Uploads as state: chunks, streams, resumption, and what ends a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from registry import body
from registry.app import create_app
from registry.config import RegistryConfig
from registry.errors import ApiError
from registry.service import open_registry
from registry.settings import LimitSettings
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Answer, Client, digest_of
from tests.waiting import eventually_async

D = digest_of
DATA = bytes(range(256)) * 40


def chunk(first: int, last: int) -> dict[str, str]:
    return {"Content-Range": f"{first}-{last}", "Content-Type": "application/octet-stream"}


def bytes_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of bodies came at a time; to ask a session would be to hold it."""
    sizes: list[int] = []
    real = body._Source.next

    async def counted(source: body._Source) -> bytes:
        data = await real(source)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(body._Source, "next", counted)
    return sizes


async def fetched(client: Client, repository: str, data: bytes) -> bool:
    answer = await client.send("GET", f"/v2/{repository}/blobs/{D(data)}")
    return answer.status == 200 and answer.body == data


async def test_post_then_put(client: Client) -> None:
    location = await client.start_upload("a")
    answer = await client.send("PUT", f"{location}?digest={D(DATA)}", data=DATA)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/a/blobs/{D(DATA)}"
    assert await fetched(client, "a", DATA)


@pytest.mark.parametrize("final_in_put", [False, True])
async def test_chunked(client: Client, final_in_put: bool) -> None:
    location = await client.start_upload("a")
    first, second = DATA[:1000], DATA[1000:]
    answer = await client.send("PATCH", location, data=first, headers=chunk(0, 999))
    assert (answer.status, answer.headers["Range"]) == (202, "0-999")
    rest = chunk(1000, len(DATA) - 1)
    if final_in_put:
        finish = await client.send("PUT", f"{location}?digest={D(DATA)}", data=second, headers=rest)
    else:
        answer = await client.send("PATCH", answer.headers["Location"], data=second, headers=rest)
        assert answer.headers["Range"] == f"0-{len(DATA) - 1}"
        finish = await client.send("PUT", f"{location}?digest={D(DATA)}")
    assert finish.status == 201
    assert await fetched(client, "a", DATA)


async def test_streamed_without_length(client: Client) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 3000):
            yield DATA[start : start + 3000]

    location = await client.start_upload("a")
    answer = await client.send("PATCH", location, data=stream())
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(DATA) - 1}")
    assert (await client.send("PUT", f"{location}?digest={D(DATA)}")).status == 201
    assert await fetched(client, "a", DATA)


async def test_many_pieces_keep_their_order(client: Client) -> None:
    """More than one piece is on its way to a thread at a time."""
    big = b"".join(n.to_bytes(4, "big") for n in range(1_500_000))
    await client.push_blob("a", big)
    assert await fetched(client, "a", big)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_the_digest_may_use_either_algorithm(client: Client, algorithm: str) -> None:
    location = await client.start_upload("a", f"?digest-algorithm={algorithm}")
    await client.send("PATCH", location, data=DATA)
    other = "sha512" if algorithm == "sha256" else "sha256"
    answer = await client.send("PUT", f"{location}?digest={D(DATA, other)}")
    assert answer.status == 201
    assert (await client.send("GET", f"/v2/a/blobs/{D(DATA, other)}")).body == DATA


async def test_progress_of_an_empty_session(client: Client) -> None:
    location = await client.start_upload("a")
    answer = await client.send("GET", location)
    assert (answer.status, answer.headers["Range"]) == (204, "0-0")
    assert answer.headers["Location"] == location


@pytest.mark.parametrize(("first", "last"), [(500, 999), (0, 99), (101, 200), (99, 199)])
async def test_abuse_14_a_chunk_elsewhere_is_refused_and_the_session_goes_on(
    client: Client, first: int, last: int
) -> None:
    """Overlap and gap, for PATCH and for the closing PUT."""
    location = await client.start_upload("a")
    await client.send("PATCH", location, data=DATA[:100], headers=chunk(0, 99))
    wrong = DATA[first : last + 1]
    answer = await client.send("PATCH", location, data=wrong, headers=chunk(first, last))
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["Range"] == "0-99"
    put = f"{location}?digest={D(DATA)}"
    answer = await client.send("PUT", put, data=wrong, headers=chunk(first, last))
    assert answer.status == 416
    assert (await client.send("GET", location)).headers["Range"] == "0-99"
    rest = chunk(100, len(DATA) - 1)
    assert (await client.send("PUT", put, data=DATA[100:], headers=rest)).status == 201
    assert await fetched(client, "a", DATA)


@pytest.mark.parametrize("header", ["0-98", "0-100", "9-0", "x", "bytes"])
async def test_abuse_14_a_range_that_contradicts_the_body(client: Client, header: str) -> None:
    """Wrong Content-Range."""
    location = await client.start_upload("a")
    answer = await client.send(
        "PATCH", location, data=DATA[:100], headers={"Content-Range": header}
    )
    assert (answer.status, answer.code) in [(400, "SIZE_INVALID"), (400, "BLOB_UPLOAD_INVALID")]
    assert (await client.send("GET", location)).headers["Range"] == "0-0"


async def test_a_stream_shorter_than_its_range(client: Client) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield DATA[:50]

    location = await client.start_upload("a")
    answer = await client.send("PATCH", location, data=stream(), headers=chunk(0, 99))
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert (await client.send("GET", location)).headers["Range"] == "0-49"


async def test_abuse_15_wrong_digest_ends_the_session(client: Client, tmp_path: Path) -> None:
    """Nothing readable and nothing on disk is left."""
    location = await client.start_upload("a")
    answer = await client.send("PUT", f"{location}?digest={D(b'other')}", data=DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await client.send("GET", location)).status == 404
    for data in (DATA, b"other"):
        assert (await client.send("GET", f"/v2/a/blobs/{D(data)}")).status == 404
    assert not list((tmp_path / "registry" / "uploads").iterdir())
    assert not list((tmp_path / "registry" / "blobs" / "sha256").iterdir())


async def test_cancel(client: Client, tmp_path: Path) -> None:
    location = await client.start_upload("a")
    await client.send("PATCH", location, data=DATA)
    assert (await client.send("DELETE", location)).status == 204
    for method in ("GET", "DELETE", "PATCH"):
        answer = await client.send(method, location)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert not list((tmp_path / "registry" / "uploads").iterdir())


async def test_abuse_14_resume_after_a_restart(start: StartRegistry, tmp_path: Path) -> None:
    """Another process goes on with the session and hashes its prefix again."""
    config = RegistryConfig(root=tmp_path / "registry")
    before = TestClient(TestServer(create_app(config)))
    await before.start_server()
    old = Client(before.session, str(before.make_url("")).rstrip("/"))
    location = await old.start_upload("a")
    await old.send("PATCH", location, data=DATA[:5000])
    await before.close()

    client = await start()
    answer = await client.send("GET", location)
    assert answer.headers["Range"] == "0-4999"
    rest = chunk(5000, len(DATA) - 1)
    answer = await client.send("PATCH", location, data=DATA[5000:], headers=rest)
    assert answer.status == 202
    assert (await client.send("PUT", f"{location}?digest={D(DATA)}")).status == 201
    assert await fetched(client, "a", DATA)


async def test_two_servers_share_a_session(start: StartRegistry) -> None:
    one, two = await start(), await start()
    location = await one.start_upload("a")
    for n, client in enumerate([one, two, one, two]):
        part = DATA[n * 1000 : n * 1000 + 1000]
        headers = chunk(n * 1000, n * 1000 + 999)
        assert (await client.send("PATCH", location, data=part, headers=headers)).status == 202
    answer = await one.send("PUT", f"{location}?digest={D(DATA)}", data=DATA[4000:])
    assert answer.status == 201
    assert await fetched(two, "a", DATA)


async def test_abuse_14_a_dropped_connection_keeps_what_arrived(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client drops mid-chunk and resumes where the server says."""
    taken = bytes_taken(monkeypatch)
    location = await client.start_upload("a")
    host, port = client.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n".encode())
    writer.write(DATA[:4000])
    await writer.drain()
    await eventually_async(lambda: sum(taken) == 4000)
    writer.close()
    await writer.wait_closed()
    answer = await settled(client, location)
    assert answer.headers["Range"] == "0-3999"
    put = f"{location}?digest={D(DATA)}"
    assert (await client.send("PUT", put, data=DATA[4000:])).status == 201
    assert await fetched(client, "a", DATA)


async def settled(client: Client, location: str) -> Answer:
    async with asyncio.timeout(60):
        while (answer := await client.send("GET", location)).status == 409:
            await asyncio.sleep(0.02)
    return answer


async def test_abuse_14_a_stalled_client_is_dropped(start: StartRegistry) -> None:
    """Slow-loris; the session survives for a client that resumes."""
    client = await start(limits=LimitSettings(idle_timeout=0.2))
    location = await client.start_upload("a")
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nabc".encode()
    )
    answer = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    assert b"408" in answer
    assert (await settled(client, location)).headers["Range"] == "0-2"


async def test_malformed_chunked_encoding(client: Client) -> None:
    location = await client.start_upload("a")
    host, port = client.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"5\r\nhello\r\nZZ\r\n")
    answer = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    assert b"400" in answer


async def test_abuse_13_a_session_has_one_request_at_a_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two PUTs race for one session; exactly one wins."""
    taken = bytes_taken(monkeypatch)
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:100]
        await gate.wait()
        yield DATA[100:]

    location = await client.start_upload("a")
    put = f"{location}?digest={D(DATA)}"
    first = asyncio.create_task(client.send("PUT", put, data=slow()))
    await eventually_async(lambda: sum(taken) == 100)
    second = await client.send("PUT", put, data=DATA)
    assert (second.status, second.code) == (409, "BLOB_UPLOAD_INVALID")
    gate.set()
    assert (await first).status == 201
    assert await fetched(client, "a", DATA)


async def test_racing_finishers(client: Client) -> None:
    for n in range(10):
        data = DATA + bytes([n])
        location = await client.start_upload("a")
        put = f"{location}?digest={D(data)}"
        answers = await asyncio.gather(*(client.send("PUT", put, data=data) for _ in range(4)))
        assert sorted(a.status for a in answers)[0] == 201
        assert {a.status for a in answers} <= {201, 404, 409}
        assert [a.status for a in answers].count(201) == 1
        assert await fetched(client, "a", data)


async def test_abuse_13_a_session_belongs_to_its_repository(client: Client) -> None:
    """The id of repository a is nothing in repository b."""
    location = await client.start_upload("a")
    foreign = location.replace("/v2/a/", "/v2/b/")
    for method in ("GET", "PATCH", "DELETE"):
        answer = await client.send(method, foreign)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    answer = await client.send("PUT", f"{foreign}?digest={D(b'')}")
    assert answer.status == 404
    assert (await client.send("GET", location)).status == 204


async def test_abuse_13_a_finished_id_is_gone(client: Client) -> None:
    """Finished id re-used, also by a server that never saw the session."""
    location = await client.start_upload("a")
    put = f"{location}?digest={D(DATA)}"
    assert (await client.send("PUT", put, data=DATA)).status == 201
    for answer in (
        await client.send("PUT", put, data=DATA),
        await client.send("PATCH", location, data=DATA),
        await client.send("GET", location),
    ):
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_abuse_13_ids_cannot_be_guessed(client: Client) -> None:
    """128 random bits, nothing sequential."""
    ids = {(await client.start_upload("a")).rpartition("/")[2] for _ in range(20)}
    assert len(ids) == 20
    assert all(len(upload) == 32 for upload in ids)
    assert len({upload[:4] for upload in ids}) > 10


async def test_idle_sessions_expire(tmp_path: Path) -> None:
    registry = await asyncio.to_thread(open_registry, RegistryConfig(root=tmp_path))
    try:
        old = await registry.uploads.start("a", "sha256")
        stray = tmp_path / "uploads" / ("f" * 32)
        stray.write_bytes(b"left by a single-request upload")
        assert await registry.uploads.sweep(expiry=3600) == 0
        assert await registry.uploads.sweep(expiry=-10) == 2
        with pytest.raises(ApiError):
            async with registry.uploads.hold("a", old):
                pass
        assert not list((tmp_path / "uploads").iterdir())
    finally:
        await asyncio.to_thread(registry.close)


async def test_a_session_in_use_does_not_expire(tmp_path: Path) -> None:
    registry = await asyncio.to_thread(open_registry, RegistryConfig(root=tmp_path))
    try:
        upload = await registry.uploads.start("a", "sha256")
        async with registry.uploads.hold("a", upload):
            before = (tmp_path / "uploads" / upload).stat()
            assert before.st_size == 0
            await registry.uploads.sweep(expiry=-10)
        assert await registry.workers.look_up(partial(registry.index.upload, upload)) is not None
    finally:
        await asyncio.to_thread(registry.close)
