"""One PostgreSQL server for all tests of a process, and schemas of its own for each test.

``store_kit.open_index`` opens indexes there for every test of this folder, so what holds for SQLite
is shown once more by importing its tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.index import SqlIndex
from registry.sql.postgres.index import PostgresIndex
from registry.sql.settings import IndexSettings
from tests.registry import store_kit
from tests.registry.postgres_kit import PostgresServer, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def crashing_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture
def own_server(crashing_server: PostgresServer) -> PostgresServer:
    """Another server, which tests may crash; it runs, whatever the test before left of it."""
    crashing_server.revive()
    return crashing_server


@pytest.fixture
def settings(postgres_server: PostgresServer) -> Iterator[IndexSettings]:
    """A schema that nobody used."""
    settings = postgres_server.settings()
    yield settings
    postgres_server.drop(settings.schema)


class Schemas:
    """A schema for each root, which is there again when opened again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.known: dict[Path, IndexSettings] = {}

    def open(self, root: Path, **options: Any) -> SqlIndex:
        """Open the index that takes the place of ``root``'s."""
        if root not in self.known:
            self.known[root] = self._server.settings()
        return PostgresIndex(self.known[root], **options)

    def drop(self) -> None:
        """Forget them all."""
        for settings in self.known.values():
            self._server.drop(settings.schema)


@pytest.fixture(autouse=True)
def schemas(postgres_server: PostgresServer) -> Iterator[Schemas]:
    """Where the indexes of this test are."""
    schemas = Schemas(postgres_server)
    store_kit.OPENERS.append(schemas.open)
    yield schemas
    store_kit.OPENERS.pop()
    schemas.drop()
