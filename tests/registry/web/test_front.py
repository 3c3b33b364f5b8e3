"""The pages behind their door: nothing of them is loaded before somebody asks."""

from __future__ import annotations

import subprocess
import sys

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


async def test_requests_of_clients_load_nothing_of_them(client: Client) -> None:
    for path in ("/v2/", "/v2/_catalog", "/auth/keys", "/v3"):
        answer = await client.send("GET", path)
        assert "Content-Security-Policy" not in answer.headers
