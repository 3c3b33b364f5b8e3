"""Removing a whole repository beside a server that serves it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from images.mediatype import OCI_INDEX
from lading.cli import cli
from registry.errors import RegistryError, RepositoryUnknownError
from registry.index import SqliteIndex
from registry.removal import RemovalReport, remove_repository
from tests.registry import kit
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of
from tests.registry.test_durability import store_is_clean

LAYER = b"layer" * 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


async def removed(root: Path, repository: str) -> RemovalReport:
    def work() -> RemovalReport:
        index = SqliteIndex(root)
        try:
            return remove_repository(index, repository)
        finally:
            index.close()

    return await asyncio.to_thread(work)


async def test_everything_of_it_goes_at_once(client: Client, root: Path) -> None:
    image = await client.push_image("lib/app", "1", "2", layers=[LAYER])
    await client.push_manifest("lib/app", kit.index([image]), "i", media_type=OCI_INDEX)
    await client.push_image("lib/app-2", "1", layers=[LAYER])
    paths = ["manifests/1", f"manifests/{digest_of(image)}", f"blobs/{digest_of(LAYER)}"]
    for path in paths:
        for _ in range(2):  # so that the answers are in memory
            assert (await client.send("GET", f"/v2/lib/app/{path}")).status == 200
    assert await removed(root, "lib/app") == RemovalReport(2, 2, True)
    for path in [*paths, "tags/list"]:
        assert (await client.send("GET", f"/v2/lib/app/{path}")).status == 404
    assert (await client.send("GET", "/v2/_catalog")).json == {"repositories": ["lib/app-2"]}
    assert (await client.send("GET", f"/v2/lib/app-2/blobs/{digest_of(LAYER)}")).body == LAYER
    await asyncio.to_thread(store_is_clean, root)
    assert await client.push_image("lib/app", "1", layers=[LAYER]) == image


async def test_many_steps(client: Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.removal._STEP", 3)
    await client.push_blob("a", b"{}")
    for number in range(10):
        await client.push_manifest("a", kit.manifest(annotations={"n": str(number)}), f"t{number}")
    assert await removed(root, "a") == RemovalReport(10, 1, True)


async def test_an_upload_under_way_keeps_the_name(client: Client, root: Path) -> None:
    await client.push_blob("a", b"{}")
    location = await client.start_upload("a")
    assert not (await removed(root, "a")).gone
    answer = await client.send("PUT", f"{location}?digest={digest_of(b'x')}", data=b"x")
    assert answer.status == 201


async def test_there_is_none(client: Client, root: Path) -> None:
    with pytest.raises(RepositoryUnknownError, match="no such repository"):
        await removed(root, "nothing")


async def test_by_command(start: StartRegistry, root: Path) -> None:
    client = await start()
    await client.push_image("a/b", "1")

    def run(*arguments: str) -> tuple[int, str]:
        command = ["registry", "rm", "--storage", str(root), *arguments]
        try:
            done = CliRunner().invoke(cli, command, catch_exceptions=False)
        except RegistryError as error:
            return 1, error.what
        return done.exit_code, done.output

    code, output = await asyncio.to_thread(run, "a/b", "--format", "json")
    assert (code, json.loads(output)) == (0, {"manifests": 1, "blobs": 1, "gone": True})
    assert (await asyncio.to_thread(run, "a/b"))[0] == 1
