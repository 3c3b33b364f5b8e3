"""A registry in front of others, all in this process; what they were asked is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from registry.proxy.settings import ProxyRule
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of, manifest

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Lying:
    """A server that answers as a test says, and remembers what it was asked."""

    authority: str = ""
    answer: Answer | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        self.authorizations.append(request.headers.get("Authorization"))
        assert self.answer is not None
        return await self.answer(request)

    def asked(self, method: str, part: str) -> int:
        """How many requests of this kind there were."""
        return sum(verb == method and part in path for verb, path in self.requests)


StartLying = Callable[..., Awaitable[Lying]]


@pytest.fixture
async def lying() -> AsyncIterator[StartLying]:
    """Start servers that a test answers for."""
    async with AsyncExitStack() as stack:

        async def start(answer: Answer | None = None, host: str = "127.0.0.1") -> Lying:
            server = Lying(answer=answer)
            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{path:.*}", server.handle)
            running = TestServer(app, host=host)
            await running.start_server()
            stack.push_async_callback(running.close)
            server.authority = f"{host}:{running.port}"
            return server

        yield start


@pytest.fixture
async def upstream(start: StartRegistry, tmp_path: Path) -> Client:
    """A registry to be cached."""
    return await start(root=tmp_path / "upstream")


@pytest.fixture
async def watched(upstream: Client, lying: StartLying) -> Lying:
    """The same, through a server that counts requests; ``answer`` may be replaced."""

    async def forward(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/" and request.method == "GET":
            return web.json_response({})
        found = await upstream.send(request.method, request.path_qs, headers=_passed(request))
        return web.Response(status=found.status, headers=_kept(found.headers), body=found.body)

    return await lying(forward)


def _passed(request: web.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in ("Accept", "Range") if name in request.headers}


def _kept(headers: Any) -> dict[str, str]:
    kept = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "Link")
    return {name: headers[name] for name in kept if name in headers}


@pytest.fixture
def cached(start: StartRegistry, tmp_path: Path) -> Callable[..., Awaitable[Client]]:
    """Start a registry that caches ``authority`` below ``hub/``."""

    async def begin(authority: str, more: Any = None, **fields: Any) -> Client:
        make = partial(ProxyRule, upstream=authority, prefix="hub/", timeout=30.0, **fields)
        rule = await asyncio.to_thread(make)
        return await start(root=tmp_path / "front", proxy=(rule,), **(more or {}))

    return begin


def image_of(layer: bytes) -> tuple[bytes, str]:
    """The manifest that ``push_image`` makes of one layer, and the layer's digest."""
    return manifest(layers=[layer]), digest_of(layer)
