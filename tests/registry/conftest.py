"""A registry per test, in this process and under a guard that fails on a blocked event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import blockbuster_ctx

from registry.app import create_app
from registry.config import RegistryConfig
from tests.registry.cases import preload
from tests.registry.kit import Client

StartRegistry = Callable[..., Awaitable[Client]]


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx(["registry", "images"]) as guard:
        # One stat of a file that is always in the inode cache: cheaper than a thread for it.
        guard.functions["os.stat"].can_block_in("registry/smallfiles.py", "signature")
        # coverage takes its own lock when a thread enters a file for the first time.
        for acquire in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
            guard.functions[acquire].can_block_in("coverage/collector.py", "lock_data")
        yield


@pytest.fixture(autouse=True)
def no_error_is_logged(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Any:
    """A request that ends in our last wall is a bug, unless the test provokes it."""
    yield
    if "faults_expected" not in request.fixturenames:
        records = caplog.get_records("call")
        bad = [r for r in records if r.levelno >= logging.ERROR and r.name.startswith("registry")]
        assert not bad, [record.getMessage() for record in bad]


@pytest.fixture
def faults_expected() -> None:
    """For tests that make the server fail on purpose."""


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartRegistry]:
    """Start registries; each call takes ``RegistryConfig`` fields, ``root`` has a default."""
    async with AsyncExitStack() as stack:

        async def start(**fields: Any) -> Client:
            fields = {"root": tmp_path / "registry", **fields}
            config = await asyncio.to_thread(partial(RegistryConfig, **fields))
            server = TestServer(create_app(config))
            client = TestClient(server, auto_decompress=False)
            await client.start_server()
            stack.push_async_callback(client.close)
            return Client(client.session, str(server.make_url("")).rstrip("/"))

        yield start


@pytest.fixture
async def client(start: StartRegistry) -> Client:
    """A registry with default settings."""
    return await start()


@pytest.fixture
async def preloaded(client: Client) -> Client:
    """A registry that holds what ``cases`` describes."""
    return await preload(client)
