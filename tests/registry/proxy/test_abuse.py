"""What upstreams may try: number 23 of the abuses, and CVE-2026-33540.

An upstream here is a server that a test answers for. Nothing that it says may make the registry
give away what is not the upstream's, look where it should not, or keep or serve what is not right.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from images.client import manifests as upstream_manifests
from images.client.errors import HostUnknownError, UnsafeHopError
from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.proxy.settings import ProxyRule
from registry.proxy.upstream import Upstream
from tests.registry.access_kit import basic, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of, manifest
from tests.registry.proxy.conftest import Answer, Lying, StartLying

Cached = Callable[..., Awaitable[Client]]
BLOB = os.urandom(1 << 20)
_HALF = 1 << 19
TAG = "/v2/hub/app/manifests/v1"


@pytest.fixture
def login(tmp_path: Path) -> dict[str, object]:
    """Credentials for an upstream, as settings."""
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return {"username": "robot", "password_file": path}


def own(secret: str = "s3cret") -> str:
    return "Basic " + base64.b64encode(f"robot:{secret}".encode()).decode()


def serving(
    raw: bytes = b"", *, media_type: str = OCI_MANIFEST, blob: bytes = b"", **headers: str
) -> Answer:
    """An upstream without tags but one, and without blobs but one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "/manifests/" in request.path:
            return web.Response(body=raw, headers={"Content-Type": media_type, **named})
        if "/blobs/" in request.path:
            return web.Response(body=blob)
        return web.Response()

    return answer


async def test_a_realm_on_another_host_gets_no_credentials(
    lying: StartLying, cached: Cached, login: dict[str, object]
) -> None:
    thief = await lying(serving(), host="127.0.0.2")

    async def challenge(request: web.Request) -> web.StreamResponse:
        realm = f'Bearer realm="http://{thief.authority}/token",service="x"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    upstream = await lying(challenge)
    front = await cached(upstream.authority, **login)
    answer = await front.send("GET", TAG)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert thief.requests == []
    assert "127.0.0.2" not in answer.body.decode()


async def test_a_realm_that_the_configuration_names_gets_them(
    lying: StartLying, cached: Cached, login: dict[str, object]
) -> None:
    async def token(request: web.Request) -> web.StreamResponse:
        return web.json_response({"token": "t0ken"})

    issuer = await lying(token, host="127.0.0.2")
    raw = manifest()

    async def challenge(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer t0ken":
            return web.Response(body=raw, headers={"Content-Type": OCI_MANIFEST})
        realm = f'Bearer realm="http://{issuer.authority}/token",service="x"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    upstream = await lying(challenge)
    front = await cached(upstream.authority, realms=("127.0.0.2",), **login)
    assert (await front.send("GET", TAG)).body == raw
    assert issuer.authorizations == [own()]


async def test_a_redirect_elsewhere_gets_no_credentials(
    lying: StartLying, cached: Cached, login: dict[str, object]
) -> None:
    storage = await lying(serving(manifest()), host="127.0.0.2")

    async def redirect(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        location = f"http://{storage.authority}{request.path}"
        return web.Response(status=307, headers={"Location": location})

    upstream = await lying(redirect)
    front = await cached(upstream.authority, **login)
    assert (await front.send("GET", TAG)).status == 200
    assert upstream.authorizations[-1] == own()
    assert set(storage.authorizations) == {None}


async def test_what_a_client_shows_us_goes_nowhere(
    lying: StartLying, cached: Cached, tmp_path: Path
) -> None:
    from registry.access.settings import AccessSettings

    upstream = await lying(serving(manifest()))
    access = AccessSettings(htpasswd=users_file(tmp_path / "users", "ada"))
    front = await cached(upstream.authority, {"access": access})
    assert (await front.send("GET", TAG)).status == 401, "our rules decide who may pull through"
    assert upstream.requests == []
    shown = {**basic("ada"), "Cookie": "a=b", "X-Forwarded-For": "192.0.2.1"}
    assert (await front.send("GET", TAG, headers=shown)).status == 200
    assert set(upstream.authorizations) == {None}


async def test_a_redirect_to_a_link_local_address_is_not_followed(
    lying: StartLying, cached: Cached
) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        location = "http://169.254.169.254/latest/meta-data"
        return web.Response(status=302, headers={"Location": location})

    upstream = await lying(redirect)
    front = await cached(upstream.authority)
    for path in (TAG, f"/v2/hub/app/blobs/{digest_of(BLOB)}"):
        answer = await front.send("GET", path)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert "169.254" not in answer.body.decode(), "where it led is for the log"


class _Names(AbstractResolver):
    """Every name is this machine, as far as its owner says."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("host", "error"),
    [("127.0.0.1", UnsafeHopError), ("rebound.example", HostUnknownError)],
)
async def test_a_redirect_into_this_machine_is_not_followed(
    lying: StartLying, host: str, error: type[Exception]
) -> None:
    inner = await lying(serving(manifest()))

    async def redirect(request: web.Request) -> web.StreamResponse:
        location = f"http://{host}:{inner.authority.rpartition(':')[2]}/"
        return web.Response(status=302, headers={"Location": location})

    outer = await lying(redirect)
    place = f"registry.example:{outer.authority.rpartition(':')[2]}"
    upstream = Upstream(ProxyRule(upstream=place, insecure=True), resolver=_Names)
    try:
        with pytest.raises(error):
            await upstream_manifests.fetch(upstream.transport, upstream.reference("app", "v1"))
    finally:
        await upstream.close()
    assert outer.requests
    assert inner.requests == []


class Halves:
    """Answers for a blob in two halves; the second waits until the client has some of the first.

    What fails before that is answered with an error instead, which is another story.
    """

    def __init__(self, raw: bytes, *rest: bytes, endless: bool = False) -> None:
        self.seen = asyncio.Event()
        self._manifest = serving(raw)
        self._rest = rest
        self._endless = endless

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "/blobs/" not in request.path:
            return await self._manifest(request)
        response = web.StreamResponse()
        if not self._endless:
            response.content_length = len(BLOB)
        await response.prepare(request)
        await response.write(BLOB[:_HALF])
        await self.seen.wait()
        for piece in self._rest:
            await response.write(piece)
        try:
            while self._endless:
                await response.write(BLOB)
        except (ConnectionError, asyncio.CancelledError):
            return response
        if not self._rest:
            assert request.transport is not None
            request.transport.close()
        return response

    async def broken_off(self, front: Client) -> None:
        """Ask for the blob, which does not arrive whole."""
        path = f"/v2/hub/app/blobs/{digest_of(BLOB)}"
        async with front.session.get(front.base + path) as response:
            assert response.status == 200
            self.seen.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def _kept(front: Client) -> list[str]:
    catalog = (await front.send("GET", "/v2/_catalog")).json["repositories"]
    assert isinstance(catalog, list)
    return catalog


async def test_a_manifest_of_another_digest_is_neither_served_nor_kept(
    lying: StartLying, cached: Cached
) -> None:
    raw = manifest()
    front = await cached((await lying(serving(raw))).authority)
    other = digest_of(b"something else")
    answer = await front.send("GET", f"/v2/hub/app/manifests/{other}")
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert await _kept(front) == []
    lie = await lying(serving(raw, Docker_Content_Digest=other))
    front = await cached(lie.authority)
    assert (await front.send("GET", TAG)).status == 502


async def test_a_blob_of_another_digest_never_arrives_whole(
    lying: StartLying, cached: Cached
) -> None:
    raw = manifest(layers=[BLOB])
    other = Halves(raw, BLOB[_HALF:-1] + bytes([BLOB[-1] ^ 1]))
    upstream = await lying(other)
    front = await cached(upstream.authority)
    await front.send("GET", TAG)
    path = f"/v2/hub/app/blobs/{digest_of(BLOB)}"
    await other.broken_off(front)
    upstream.answer = serving(raw, blob=BLOB)
    assert (await front.send("GET", path)).body == BLOB, "and nothing of it poisons the next"


@pytest.mark.parametrize("length", [None, 5 << 20], ids=["endless", "announced"])
async def test_an_oversized_manifest_is_not_read_to_its_end(
    lying: StartLying, cached: Cached, length: int | None
) -> None:
    sent = 0

    async def big(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
        if length is not None:
            response.content_length = length
        await response.prepare(request)
        try:
            for _ in range(1024):
                await response.write(b" " * (1 << 16))
                sent += 1 << 16
        except (ConnectionError, RuntimeError, asyncio.CancelledError):
            pass
        return response

    front = await cached((await lying(big)).authority)
    answer = await front.send("GET", TAG)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert sent < 32 << 20
    assert await _kept(front) == []


async def test_a_blob_that_does_not_end_is_cut_off(
    lying: StartLying, cached: Cached, tmp_path: Path
) -> None:
    endless = Halves(manifest(layers=[BLOB]), endless=True)
    front = await cached((await lying(endless)).authority)
    await front.send("GET", TAG)
    await endless.broken_off(front)
    assert os.listdir(tmp_path / "front" / "uploads") == []


async def test_a_blob_that_breaks_off_is_not_served_as_whole(
    lying: StartLying, cached: Cached, tmp_path: Path
) -> None:
    short = Halves(manifest(layers=[BLOB]))
    front = await cached((await lying(short)).authority)
    await front.send("GET", TAG)
    await short.broken_off(front)
    assert os.listdir(tmp_path / "front" / "uploads") == []


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"<html>log in</html>", "text/html"),
        (b"{}", OCI_MANIFEST),
        (manifest(), OCI_INDEX),
        (b"\x1f\x8b" + bytes(100), "application/octet-stream"),
        (b"[" * 100_000, OCI_MANIFEST),
    ],
    ids=["html", "empty", "confused", "binary", "deep"],
)
async def test_what_is_no_manifest_is_not_served_as_one(
    lying: StartLying, cached: Cached, raw: bytes, media_type: str
) -> None:
    front = await cached((await lying(serving(raw, media_type=media_type))).authority)
    answer = await front.send("GET", TAG)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert await _kept(front) == []


async def test_a_blob_larger_than_allowed_is_refused_before_it_is_fetched(
    lying: StartLying, start: StartRegistry, cached: Cached
) -> None:
    from registry.settings import LimitSettings

    async def vast(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD" and "/blobs/" in request.path:
            return web.Response(headers={"Content-Length": str(1 << 60)})
        return web.Response()

    upstream: Lying = await lying(vast)
    front = await cached(upstream.authority, {"limits": LimitSettings(blob_size=1 << 30)})
    answer = await front.send("GET", f"/v2/hub/app/blobs/{digest_of(BLOB)}")
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    assert upstream.asked("GET", "/blobs/") == 0
