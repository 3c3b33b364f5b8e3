"""One S3 server for all tests of a process, and a store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.s3.kit import Server, Store, running_server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one bucket."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def store(s3_server: Server, tmp_path: Path) -> Iterator[Store]:
    """An empty storage in a prefix of its own."""
    store = Store(s3_server, tmp_path / "root")
    yield store
    store.close()
