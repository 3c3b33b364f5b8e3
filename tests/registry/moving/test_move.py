"""Stores moved between drivers while clients push and pull, there and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lading.commands.registry_store import open_store
from registry.config import RegistryConfig
from registry.configuration.sources import load
from registry.errors import StoreMovedError
from registry.protocols import Storage
from tests.registry.kit import digest_of
from tests.registry.moving.kit import Load, fill, lading, listings, push, still_there
from tests.registry.postgres_kit import PostgresServer, postgres
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server
from tests.registry.service_kit import call, service
from tests.waiting import eventually

__all__ = ["s3_server"]

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


def index(server: PostgresServer) -> str:
    """The ``[index]`` of a configuration, with a schema that nobody used."""
    schema = server.settings().schema
    return f'[index]\ntype = "postgresql"\nurl = "{server.url}"\nschema = "{schema}"\n'


def place(folder: Path, config: str) -> Path:
    """The configuration of a store in ``folder``/store that does not listen."""
    folder.mkdir(exist_ok=True)
    file = folder / "store.toml"
    file.write_text(f'root = "{folder}/store"\n{config}')
    return file


def move_under_load(
    server: Server, old: Path, old_config: str, new: Path, new_config: str, *, filled: bool
) -> None:
    """Move from one folder's store to the other's while it is served; both list the same."""
    environment = server.environment
    here, there = place(old, old_config), place(new, new_config)
    with service(old, old_config, environment=environment) as found:
        if not filled:
            fill(found)
        load = Load(found.port)
        with load.running():
            eventually(lambda: len(load.acknowledged) > 10 and load.read > 10, 120)
            line = ("migrate", "-c", here, "--to", there, "--format", "json")
            status, said = lading(*line, environment=environment)
            assert status == 0, said
            report = json.loads(said)
            # Reads go on, and writes are refused until the servers are started anew.
            reads = load.read
            eventually(lambda: load.refused and load.read > reads + 10, 120)
        assert load.failures == []
        assert set(load.refused) == {503}
        status, headers, body = call(found.port, "POST", "/v2/x/blobs/uploads/")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "is being moved" in json.loads(body)["errors"][0]["message"]
        before = listings(found.port)
    assert report["missing"] == []
    assert report["checksums"]["tags"][0] > 0
    assert lading("check", "-c", there, environment=environment)[0] == 0
    with service(new, new_config, environment=environment) as found:
        assert listings(found.port) == before
        assert still_there(found.port, load.acknowledged) == []
        assert push(found.port, "after/move", "1", b"new") == 201
        path = "/v2/after/move/manifests/1"
        assert call(found.port, "GET", path)[0] == 200
    status, said = lading("serve", "-c", here, environment=environment)
    assert status != 0
    assert "this store was moved to" in said
    assert lading("check", "-c", there, environment=environment)[0] == 0


@pytest.mark.soak
def test_files_to_a_bucket_to_another_prefix_and_back(s3_server: Server, tmp_path: Path) -> None:
    bucket = s3_server.settings(f"{tmp_path.name}/")
    elsewhere = s3_server.settings(f"{tmp_path.name}-elsewhere/")
    folders = [tmp_path / name for name in ("files", "bucket", "elsewhere", "again")]
    for folder in folders:
        folder.mkdir()
    first, second, third, fourth = folders
    move_under_load(s3_server, first, "", second, bucket, filled=False)
    move_under_load(s3_server, second, bucket, third, elsewhere, filled=True)
    move_under_load(s3_server, third, elsewhere, fourth, "", filled=True)


@pytest.mark.slow
def test_files_to_a_bucket_and_postgresql_and_back(
    s3_server: Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    replicated = s3_server.settings(f"{tmp_path.name}/") + index(postgres_server)
    folders = [tmp_path / name for name in ("files", "replicated", "again")]
    for folder in folders:
        folder.mkdir()
    first, second, third = folders
    move_under_load(s3_server, first, "", second, replicated, filled=False)
    move_under_load(s3_server, second, replicated, third, "", filled=True)


@pytest.mark.soak
def test_the_index_alone(
    s3_server: Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """To PostgreSQL with its blobs where they are: uploads go on; the old one sweeps nothing."""
    bucket = s3_server.settings(f"{tmp_path.name}/")
    first, second = tmp_path / "sqlite", tmp_path / "replicated"
    replicated = bucket + index(postgres_server)
    environment = s3_server.environment
    for folder in (first, second):
        folder.mkdir()
    with service(first, bucket, environment=environment) as found:
        headers = call(found.port, "POST", "/v2/under/way/blobs/uploads/")[1]
        upload = headers["Location"]
        assert call(found.port, "PATCH", upload, b"half and ")[0] == 202
    move_under_load(s3_server, first, bucket, second, replicated, filled=False)
    data = b"half and half"
    with service(second, replicated, environment=environment) as found:
        other = call(found.port, "POST", "/v2/under/way/blobs/uploads/")[1]["Location"]
        assert call(found.port, "PATCH", other, b"new")[0] == 202
        with opened_here(s3_server, first, bucket) as storage:
            storage.sweep(before=0.0)
            with pytest.raises(StoreMovedError):
                storage.sweep_stages()
        assert call(found.port, "GET", upload)[1]["Range"] == "0-8"
        for location, rest, whole in ((upload, b"half", data), (other, b"", b"new")):
            path = f"{location}?digest={digest_of(whole)}"
            assert call(found.port, "PUT", path, rest)[0] == 201
            blob = f"/v2/under/way/blobs/{digest_of(whole)}"
            assert call(found.port, "GET", blob)[2] == whole


@contextmanager
def opened_here(server: Server, folder: Path, config: str) -> Iterator[Storage]:
    """The storage of a store, as its old servers have it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        loaded = load(RegistryConfig, file=place(folder, config), environment={})
        with open_store(loaded) as (_, storage):
            yield storage
