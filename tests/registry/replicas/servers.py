"""A real PostgreSQL for tests: Debian's, over a folder, on a socket and a port of its own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.registry.service_kit import free_port

VERSIONS = Path("/usr/lib/postgresql")


@dataclass
class Postgres:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(), autocommit=True, connect_timeout=5)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.dsn(name)


def programs() -> Path:
    """Where Debian keeps the server's programs, or a skip that CI counts."""
    found = sorted(VERSIONS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("needs postgresql: scripts/setup")
    return found[-1].parent


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Serve an empty cluster; it is PostgreSQL's own user who does, as root may not."""
    bin = programs()
    # The path of a socket is at most 107 bytes long.
    folder = Path(tempfile.mkdtemp(prefix="lading-pg-"))
    drop: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        drop = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, port = folder / "data", free_port()
    init = [bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run([*init, "--locale=C"], check=True, cwd=folder, stdout=subprocess.DEVNULL, **drop)
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [bin / "postgres", "-D", data, "-p", str(port), *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **drop)
    server = Postgres(port, process, folder)
    try:
        _wait(server)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: Postgres) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, (server.folder / "log").read_text()
            time.sleep(0.05)
        else:
            return
