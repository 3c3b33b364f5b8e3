"""The catalog as each user sees it, and what is read again on SIGHUP and by every worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from registry.access.passwords import set_password
from registry.access.robots import create_robot, parse_permission, revoke_robot
from registry.config import AccessSettings
from tests.registry.access_kit import basic, rule, token_for, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client
from tests.registry.running import PROJECT


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return users_file(tmp_path / "htpasswd", "ada", "bob", "eve", "root2")


async def names(client: Client, headers: dict[str, str], query: str = "") -> list[str]:
    """All pages of the catalog."""
    path: str | None = f"/v2/_catalog{query}"
    found: list[str] = []
    while path is not None:
        answer = await client.send("GET", path, headers=headers)
        assert answer.status == 200
        assert answer.json["repositories"] or "Link" not in answer.headers
        found += answer.json["repositories"]
        link = answer.headers.get("Link")
        path = None if link is None else link[1 : link.index(">")]
    return found


async def test_everybody_sees_what_they_may_pull(start: StartRegistry, users: Path) -> None:
    rules = (
        rule("{user}/** open", "*", users=("*",)),
        rule("bob/shared", "pull", users=("ada",)),
        rule("**", "*", users=("root2",)),
        rule("open", "pull", anonymous=True),
    )
    client = await start(access=AccessSettings(users, rules=rules))
    client.headers.update(basic("root2"))
    everything = ["ada/a", "ada/b", "ada/b/c", "bob/own", "bob/shared", "open", "z"]
    for name in everything:
        await client.push_blob(name, b"{}")
    client.headers.clear()
    ada = ["ada/a", "ada/b", "ada/b/c", "bob/shared", "open"]
    token = await token_for(client, "ada", "registry:catalog:*")
    for query in ("", "?n=1", "?n=2", "?n=5"):
        assert await names(client, basic("ada"), query) == ada
        assert await names(client, token, query) == ada
        assert await names(client, basic("root2"), query) == everything
        assert await names(client, basic("eve"), query) == ["open"]
    assert await names(client, basic("ada"), "?last=ada/b") == ["ada/b/c", "bob/shared", "open"]
    narrow = await token_for(client, "ada", "repository:ada/a:pull")
    assert (await client.send("GET", "/v2/_catalog", headers=narrow)).status == 401


@contextmanager
def served(config: Path, root: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``lading registry serve`` with two workers; yields the process and its port."""
    command = [sys.executable, "-m", "lading", "registry", "serve", "-c", str(config)]
    command += ["--storage", str(root), "--workers", "2", "--addr", "127.0.0.1:0"]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line.split()[1].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def statuses(port: int, headers: dict[str, str], path: str = "/v2/a/manifests/1") -> set[int]:
    """What a number of fresh connections, and so most likely each worker, answer."""
    found = set()
    for _ in range(12):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers=headers)
        found.add(connection.getresponse().status)
        connection.close()
    return found


def becomes(
    port: int, headers: dict[str, str], status: int, path: str = "/v2/a/manifests/1"
) -> None:
    """Wait until every worker answers with ``status``."""
    for _ in range(300):
        if statuses(port, headers, path) == {status}:
            return
        time.sleep(0.1)
    raise AssertionError(f"not {status}: {statuses(port, headers, path)}")


def test_every_worker_takes_notice(tmp_path: Path) -> None:
    root, config = tmp_path / "registry", tmp_path / "registry.toml"
    config.write_text("")
    access = root / "access"
    with served(config, root) as (process, port):
        assert statuses(port, {}) == {404}, "open while there are no users"
        set_password(access / "htpasswd", "ada", "one", new=True)
        becomes(port, {}, 401)
        one, two = basic("ada", "one"), basic("ada", "two")
        assert statuses(port, one) == {404}
        set_password(access / "htpasswd", "ada", "two", new=False)
        assert statuses(port, one) == {401}, "an old password is refused at once, everywhere"
        assert statuses(port, two) == {404}
        secret = create_robot(
            access / "robots.json", "ci", [parse_permission("a:pull")], now=time.time()
        )
        robot = basic("ci", secret)
        assert statuses(port, robot) == {404}
        revoke_robot(access / "robots.json", "ci")
        assert statuses(port, robot) == {401}
        config.write_text(
            '[[access.rules]]\nrepositories = ["b"]\nactions = ["pull"]\nusers = ["*"]\n'
        )
        os.kill(process.pid, signal.SIGHUP)
        becomes(port, two, 403)
        becomes(port, two, 404, "/v2/b/manifests/1")
