"""What people use on a store that was moved: skopeo, docker, and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.registry.moving.kit import lading
from tests.registry.moving.test_move import index, place
from tests.registry.postgres_kit import PostgresServer, postgres
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server
from tests.registry.s3.test_commands import tarball
from tests.registry.s3.test_service import layout
from tests.registry.service_kit import call, service
from tests.registry.test_peers import dockerd, run

__all__ = ["s3_server"]


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.mark.peer
@pytest.mark.root
@pytest.mark.slow
def test_docker_and_the_pages(
    s3_server: Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    skopeo, docker = require_program("skopeo"), require_program("docker")
    source = layout(tmp_path / "layout", [tarball()])
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    replicated = s3_server.settings(f"{tmp_path.name}/") + index(postgres_server)
    pages = "[web]\nenabled = true\n"
    with service(old, pages) as found:
        name = f"docker://127.0.0.1:{found.port}/team/app:1"
        run(skopeo, "copy", "--dest-tls-verify=false", f"oci:{source}:t", name)
        line = ("migrate", "-c", place(old, ""), "--to", place(new, replicated))
        status, said = lading(*line, environment=s3_server.environment)
        assert status == 0, said
    with service(new, replicated + pages, environment=s3_server.environment) as found:
        folder = tmp_path / "d"
        folder.mkdir()
        image = f"127.0.0.1:{found.port}/team/app:1"
        with dockerd(folder) as address:
            run(docker, "-H", address, "pull", image)
            again = f"127.0.0.1:{found.port}/team/app:2"
            run(docker, "-H", address, "tag", image, again)
            run(docker, "-H", address, "push", again)
        status, _, page = call(found.port, "GET", "/")
        assert (status, b"team/app" in page) == (200, True)
        status, _, page = call(found.port, "GET", "/web/repository/team/app")
        assert (status, b">2<" in page) == (200, True), page
