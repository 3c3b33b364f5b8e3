"""One PostgreSQL and one S3 server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry.postgres_kit import PostgresServer, postgres
from tests.registry.replicas.servers import Replicas
from tests.registry.s3.kit import Server, running_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server with one database."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An object store with one bucket."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def replicas(postgres_server: PostgresServer) -> Iterator[Replicas]:
    """A schema that nobody used."""
    found = Replicas(postgres_server.settings())
    yield found
    found.close()
    postgres_server.drop(found.settings.schema)
