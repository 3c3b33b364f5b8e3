"""Registries in TLS behind a proxy that connects (RFC 9110, section 9.3.6), on both wires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from images.client.errors import RegistryConnectionError
from images.client.proxy import through_tls
from images.client.retry import RetryPolicy
from images.reference import Reference
from tests.images.clientkit import client, nothing_blocks_the_loop, publish, sample  # noqa: F401
from tests.images.test_client_hosts import Authority
from tests.simulators.registry import SimulatedRegistry

NAME = "team/app"


@asynccontextmanager
async def proxy(target: str, answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that connects everybody to ``target`` after its ``answer``; what it was asked."""
    asked: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if b" 200 " not in answer:
            writer.close()
            return
        host, _, port = target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        for ends in ((reader, back), (there, writer)):
            task = asyncio.create_task(copy(*ends))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    await asyncio.gather(*tasks)


async def test_it_connects_and_sees_nothing_more(tmp_path: Path) -> None:
    registry, image, authority = SimulatedRegistry(), sample(), Authority(tmp_path)
    publish(registry, NAME, image, "1")
    folder = tmp_path / "certs.d" / "r.example:8443"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(authority.path.read_bytes())
    async with (
        registry.serve(authority.server("r.example")) as target,
        proxy(target, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n") as (at, asked),
    ):
        environ = {"HTTPS_PROXY": f"http://alice:s3cret@{at}"}
        async with client(environ=environ, certificate_dirs=(folder.parent,)) as it:
            reference = Reference.parse(f"r.example:8443/{NAME}:1")
            assert await it.resolve(reference) == image.descriptor
            assert await it.manifest(reference) == (image.manifest.raw, image.manifest.media_type)
    (head,) = asked
    assert head.startswith(b"CONNECT r.example:8443 HTTP/1.1\r\n")
    assert b"\r\nHost: r.example:8443\r\n" in head
    assert b"\r\nProxy-Authorization: Basic YWxpY2U6czNjcmV0\r\n" in head


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"", b"x" * 70_000 + b"\r\n\r\n"]
)
async def test_it_may_refuse(answer: bytes) -> None:
    async with proxy("127.0.0.1:1", answer) as (at, _):
        environ = {"HTTPS_PROXY": f"http://{at}"}
        async with client(environ=environ, retry=RetryPolicy(1)) as it:
            with pytest.raises(RegistryConnectionError) as caught:
                await it.resolve(Reference.parse(f"r.example/{NAME}:1"))
    assert str(caught.value).isprintable()


def test_proxies_that_are_spoken_to_in_tls_are_for_one_wire_alone() -> None:
    assert through_tls({"HTTPS_PROXY": "https://p:1"})
    assert through_tls({"http_proxy": "HTTPS://p:1"})
    assert not through_tls({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "https://x"})
