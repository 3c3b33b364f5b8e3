"""``lading registry`` on a store in PostgreSQL and a bucket: what it names and what it advises."""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from registry.sql.postgres.index import PostgresIndex
from tests.registry.postgres_kit import PostgresServer
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server, lading

__all__ = ["s3_server"]

pytestmark = pytest.mark.peer


def shell(server: PostgresServer, line: str, folder: Path) -> None:
    """Do as a message says."""
    path = f"{server.programs}:{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, cwd=folder, env={**os.environ, "PATH": path})


def line_of(said: str, program: str) -> str:
    """The command line that a message quotes."""
    found = re.search(f"`({program} [^`]+)`", said)
    assert found, said
    return found[1]


def test_messages_name_the_store_and_their_lines_work(
    s3_server: Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    settings = postgres_server.settings()
    file = tmp_path / "registry.toml"
    (tmp_path / "url").write_text(settings.url)
    prefix = f"{tmp_path.name}/"
    index_table = (
        f'[index]\ntype = "postgresql"\nschema = "{settings.schema}"\nurl_file = "{tmp_path}/url"\n'
    )
    file.write_text(f"{s3_server.settings(prefix)}\n{index_table}")
    run = partial(lading, s3_server)

    status, said = run("check", "-c", file)
    assert status == 0, said
    where = f"postgresql://127.0.0.1/lading?schema={settings.schema}"
    assert said == f"{where} and bucket {s3_server.bucket}/{prefix}: every promise is kept\n"

    status, said = run("backup", "-c", file, tmp_path / "copy")
    assert status != 0
    dump = line_of(said, "pg_dump")
    status, said = run("rebuild-index", "-c", file)
    assert status != 0
    restore = line_of(said, "pg_restore")
    assert line_of(run("restore", "-c", file, tmp_path)[1], "pg_restore") == restore
    assert settings.url not in dump + restore  # it may have a password

    index = PostgresIndex(settings)
    index.write("", partial(index.set_fact, "kept", 1))
    shell(postgres_server, dump, tmp_path)
    index.write("", partial(index.set_fact, "kept", 2))
    index.close()
    shell(postgres_server, restore, tmp_path)
    index = PostgresIndex(settings)
    assert index.fact("kept") == 1
    index.close()
    postgres_server.drop(settings.schema)
