"""The pages behind their door: nothing of them is loaded before somebody asks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from registry.index import SqliteIndex
from registry.web.front import WebFront
from registry.workers import Workers
from tests.registry.kit import Client
from tests.registry.running import PROJECT

_LOADED = """
import sys
import registry.serve, registry.worker
print(sorted(name for name in sys.modules if name.startswith(("registry.web.", "jinja2"))))
"""


def test_a_server_starts_without_the_pages() -> None:
    command = [sys.executable, "-c", _LOADED]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['registry.web.front', 'registry.web.settings']"


async def test_a_service_that_has_started_has_every_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.web.front._AFTER_SECONDS", 0.0)
    monkeypatch.setattr("registry.web.front._PAUSE_SECONDS", 0.0)
    index = await asyncio.to_thread(SqliteIndex, tmp_path)
    front, workers = WebFront(index), Workers()
    try:
        await front.warm(workers)
        assert front._opened is not None
        names = await asyncio.to_thread(front._opened.templates)
        environment = front._opened._environment
        assert environment.cache is not None
        known = {str(name) for _, name in environment.cache.keys()}  # noqa: SIM118 -- no mapping
        assert known == set(names)
    finally:
        await asyncio.to_thread(workers.close)
        await asyncio.to_thread(index.close)


async def test_requests_of_clients_load_nothing_of_them(client: Client) -> None:
    for path in ("/v2/", "/v2/_catalog", "/auth/keys", "/v3"):
        answer = await client.send("GET", path)
        assert "Content-Security-Policy" not in answer.headers
