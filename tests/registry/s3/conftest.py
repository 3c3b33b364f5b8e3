"""One S3 server for all tests of a process, and a store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry import kit
from tests.registry.s3.kit import Server, Store, running_server
from tests.registry.service_kit import call, service


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


@pytest.fixture
def used(s3_server: Server, tmp_path: Path) -> Path:
    """The configuration of a store that was pushed to."""
    config = s3_server.settings(f"{tmp_path.name}/")
    with service(tmp_path, config, environment=s3_server.environment, workers=1) as served:
        for data in (b"{}", b"layer"):
            path = f"/v2/a/blobs/uploads/?digest={kit.digest_of(data)}"
            assert call(served.port, "POST", path, data)[0] == 201
        raw = kit.manifest(layers=[b"layer"])
        headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert call(served.port, "PUT", "/v2/a/manifests/1", raw, headers)[0] == 201
    return tmp_path / "registry.toml"
