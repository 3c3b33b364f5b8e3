"""A real S3 server for tests: versitygw over a folder, on loopback.

``scripts/setup s3`` builds it with Go; it stands for any server of the protocol, and is not AWS:
storage classes and KMS keys are only passed along to it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from registry.database import NO_REPOSITORY, Database
from registry.s3.bucket import Bucket
from registry.s3.fetching import Fetcher
from registry.s3.storage import ObjectStorage
from registry.sql.sqlite import SqliteDatabase
from tests.ports import free_port
from tests.registry import store_kit
from tests.registry.service_kit import PROJECT

ACCESS = "tester"
SECRET = "tester-secret"
PART = 5 << 20


@dataclass
class Server:
    """A running server with one bucket."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    bucket: str = "registry"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What gives the SDK its credentials."""
        return {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there while the block runs, takes connections, and does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        # Its threads may go on for a moment after the signal.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @cached_property
    def client(self) -> Any:
        """One for all tests: making one takes longer than most of them."""
        session = botocore.session.Session()
        session.set_credentials(ACCESS, SECRET)
        return session.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": 2},
                connect_timeout=2,
                read_timeout=20,
            ),
        )

    def settings(self, prefix: str, **more: str) -> str:
        """The ``[storage]`` table of a configuration; values of ``more`` as TOML writes them."""
        lines = {
            "type": '"s3"',
            "endpoint": f'"{self.endpoint}"',
            "bucket": f'"{self.bucket}"',
            "prefix": f'"{prefix}"',
            "path_style": "true",
            "part_size": '"5MiB"',
            **more,
        }
        return "[storage]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


def lading(server: Server, *arguments: str | Path) -> tuple[int, str]:
    """Run ``lading registry``; returns its status and all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", "lading", "registry", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, **server.environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def program() -> str:
    """The server's path, or a skip that CI counts."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    path = shutil.which("versitygw", path=f"{os.environ['PATH']}:{cache}/lading-tests/bin")
    if path is None:
        pytest.skip("needs versitygw: scripts/setup s3")
    return path


@contextmanager
def running_server(folder: Path, *options: str) -> Iterator[Server]:
    """Serve a folder with an empty bucket; ``options`` are of versitygw."""
    port = free_port()
    store = folder / "objects"
    store.mkdir()
    command = [program(), "--port", f"127.0.0.1:{port}", "--quiet", *options, "posix", str(store)]
    environment = {"ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET, "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    server = Server(port, process, store)
    try:
        _wait(port)
        server.client.create_bucket(Bucket=server.bucket)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.02)


class Store:
    """A storage with its index, in a prefix of its own. ``again`` is another process' view."""

    def __init__(self, server: Server, root: Path, **options: Any) -> None:
        self.server = server
        self.prefix = f"{secrets.token_hex(6)}/"
        self.root = root
        self._databases: list[Database] = []
        self.storage = self.again(**options)
        self.database = self._databases[0]

    def again(self, *, copy_part_size: int = 128 << 20, **options: Any) -> ObjectStorage:
        client = self.server.client
        self.fetcher = Fetcher(client, self.server.bucket)
        self.bucket = Bucket(
            client,
            self.server.bucket,
            prefix=self.prefix,
            fetcher=self.fetcher,
            copy_part_size=copy_part_size,
        )
        storage = ObjectStorage(self.bucket, part_size=PART, **options)
        database = SqliteDatabase(self.root)
        self._databases.append(database)
        storage.attach(database)
        return storage

    def names(self, prefix: str = "") -> list[str]:
        return [item.name for page in self.bucket.objects(prefix) for item in page]

    def multiparts(self) -> list[tuple[str, str]]:
        return [one for page in self.bucket.uploads("") for one in page]

    def rows(self, table: str) -> int:
        (number,) = self.database.reader().execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        return int(number)

    def end_claims(self) -> None:
        """As if a day had passed since."""
        delete = partial(self.database.writer.execute, "DELETE FROM object_claims")
        self.database.write(NO_REPOSITORY, delete)

    def close(self) -> None:
        for database in self._databases:
            database.close()


def collected(store: Store, **options: Any) -> store_kit.Store:
    """The same prefix and index as a store that clients push to and collections visit."""
    clock = store_kit.Clock()
    storage = ObjectStorage(store.bucket, part_size=PART, clock=clock)
    return store_kit.Store(store.root, clock=clock, storage=storage, **options)
