"""Moves to and from PostgreSQL that are killed, and servers that do not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from registry.config import RegistryConfig
from registry.database import NO_REPOSITORY
from registry.errors import (
    ContentVanishedError,
    RegistryStartError,
    StoreMovedError,
    StoreMovingError,
)
from registry.index import SqlIndex, SqliteIndex
from registry.moving.front import Options, move, plan, take_back
from registry.moving.migration import opened
from registry.moving.state import MOVE, Move, Phase
from registry.outbox import read_events
from registry.s3.settings import StorageSettings, StorageType
from registry.sql.settings import IndexSettings
from tests.ports import free_port
from tests.registry.moving.test_broken_off import die_at, rows, store_at
from tests.registry.postgres_kit import PostgresServer, postgres
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server

__all__ = ["s3_server"]

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres() as running:
        yield running


@pytest.fixture
def settings(server: PostgresServer) -> Iterator[IndexSettings]:
    made = server.settings()
    yield made
    server.drop(made.schema)


@pytest.fixture
def bucket(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageSettings:
    """A prefix that nobody used."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return StorageSettings(
        StorageType.S3,
        bucket=s3_server.bucket,
        prefix=f"{tmp_path.name}/",
        endpoint=s3_server.endpoint,
        path_style=True,
    )


@pytest.fixture
def new(tmp_path: Path, settings: IndexSettings, bucket: StorageSettings) -> RegistryConfig:
    return RegistryConfig(root=tmp_path / "new", index=settings, storage=bucket)


@pytest.fixture
def old(tmp_path: Path) -> RegistryConfig:
    store_at(tmp_path / "old", images=25)
    return RegistryConfig(root=tmp_path / "old")


def killed(old: RegistryConfig, new: RegistryConfig, point: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                die_at(patch, point)
                move(old, new, Options(jobs=2))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status


def touch(index: SqlIndex) -> None:
    """Write as any replica may."""
    index.write(NO_REPOSITORY, partial(index.set_fact, "written", 1))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["copy_rows", "rest", "closed"])
def test_a_kill_on_the_way_there_and_on_the_way_back(
    old: RegistryConfig, new: RegistryConfig, tmp_path: Path, point: str
) -> None:
    before = rows(old.root)
    killed(old, new, point)
    report = move(old, new, Options())
    assert report.missing == []
    assert point == "closed" or report.checksums["tags"][0] == 25
    again = RegistryConfig(root=tmp_path / "again")
    killed(new, again, point)
    with opened(new) as side:
        side.index.mover = None
        refusal = StoreMovedError if point == "closed" else StoreMovingError
        if point == "copy_rows":
            touch(side.index)
        else:
            with pytest.raises(refusal):
                touch(side.index)
    move(new, again, Options())
    assert rows(again.root) == before


def test_numbers_go_on_where_they_were(
    old: RegistryConfig, new: RegistryConfig, tmp_path: Path
) -> None:
    """What comes afterwards is newer than what there was, also than what was dropped."""
    index = SqliteIndex(old.root)
    index.set_followed(followed=True)
    index.write("team/app0", partial(index.delete_tag, "team/app0", "t0"))
    newest = index.newest_event()
    index.write(NO_REPOSITORY, partial(index.drop_events, through=newest))
    index.close()
    move(old, new, Options())
    for config in (new, RegistryConfig(root=tmp_path / "again")):
        if config is not new:
            move(new, config, Options())
        with opened(config) as side:
            side.index.mover = None
            assert side.index.newest_event() >= newest
            side.index.set_followed(followed=True)
            delete = partial(side.index.delete_tag, "team/app1", "t1")
            if config is new:
                side.index.write("team/app1", delete)
                (event,) = read_events(side.index.reader(), after=newest)
                assert event.id > newest
                newest = side.index.newest_event()
            link = partial(side.index.link_blob, f"made/{config is new}", "sha256:" + "1" * 64, 1)
            with pytest.raises(ContentVanishedError):
                side.index.write("made", link)
            assert side.index.tag_history("team/app0", "t0", limit=9)


def test_it_is_taken_back(old: RegistryConfig, new: RegistryConfig) -> None:
    killed(old, new, "closed")
    take_back(old, new)
    index = SqliteIndex(old.root)
    touch(index)
    index.close()


def test_nobody_answers(
    old: RegistryConfig, new: RegistryConfig, tmp_path: Path, settings: IndexSettings
) -> None:
    nowhere = IndexSettings(
        type=settings.type, url=f"postgresql://lading@127.0.0.1:{free_port()}/lading", wait=2.0
    )
    for change in (
        {"index": nowhere},
        {"storage": replace(new.storage, endpoint=f"http://127.0.0.1:{free_port()}")},
        {"storage": replace(new.storage, bucket="nobodys")},
    ):
        with pytest.raises(RegistryStartError):
            move(old, replace(new, **change), Options())
    index = SqliteIndex(old.root)
    assert index.fact(MOVE) is None
    touch(index)
    index.close()
    found = plan(old, new)
    assert not found.content_stays
    assert settings.schema in found.to_index


def test_what_the_old_index_says(
    old: RegistryConfig, new: RegistryConfig, settings: IndexSettings
) -> None:
    move(old, new, Options())
    index = SqliteIndex(old.root)
    moved = Move.of_fact(index.fact(MOVE))
    index.close()
    assert moved is not None
    assert (moved.phase, settings.schema in moved.to) == (Phase.MOVED, True)
