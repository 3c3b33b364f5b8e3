"""A private PostgreSQL for tests: one server of a test process, one schema of a test.

Debian's package has its programs outside of PATH. The server refuses to run as root, so root starts
it as ``postgres`` or ``nobody``; it listens on a socket in a folder of its own and on a free port
of the loopback, and trusts who connects unless a test makes users with passwords.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from registry.sql.settings import IndexSettings, IndexType
from tests.ports import free_port

_NUMBERS = itertools.count(1)
_PATIENCE = 60.0


def programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest release there is."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    in_path = shutil.which("pg_ctl")
    return Path(in_path).parent if in_path else None


@dataclass
class PostgresServer:
    """A server that runs; ``folder`` is short, since sockets are in it."""

    folder: Path
    programs: Path
    port: int
    user: str | None
    schemas: list[str] = field(default_factory=list)
    durable: bool = False

    @property
    def url(self) -> str:
        return f"postgresql://lading@127.0.0.1:{self.port}/lading"

    def settings(self, **changes: object) -> IndexSettings:
        """Settings with a schema that nobody used."""
        fields = {"schema": f"t{next(_NUMBERS)}", "wait": 20.0, "connections": 3, **changes}
        return IndexSettings(type=IndexType.POSTGRESQL, **{"url": self.url, **fields})  # type: ignore[arg-type]

    def sql(self, statement: str, *, database: str = "lading") -> list[tuple[object, ...]]:
        with psycopg.connect(
            f"postgresql://lading@127.0.0.1:{self.port}/{database}", autocommit=True
        ) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return list(cursor.fetchall()) if cursor.description else []

    def drop(self, schema: str) -> None:
        """Forget a test's schemas, those of its rooms as well."""
        rows = self.sql(f"SELECT nspname FROM pg_namespace WHERE nspname ~ '^{schema}(_|$)'")
        for (name,) in rows:
            self.sql(f'DROP SCHEMA "{name}" CASCADE')

    def control(self, *words: str) -> None:
        """Run pg_ctl on it."""
        with (self.folder / "control.log").open("ab") as log:
            command = [*self._as(), self.programs / "pg_ctl", "-D", self.folder / "data", "-w"]
            command += ["-t", str(int(_PATIENCE)), "-l", self.folder / "log", *words]
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/")

    def start(self) -> None:
        self.control("start")

    def crash(self) -> None:
        """Stop as a power cut would, and start again."""
        self.control("restart", "-m", "immediate")

    def restart(self) -> None:
        """Stop in order, and start again."""
        self.control("restart", "-m", "fast")

    def stop(self) -> None:
        self.control("stop", "-m", "immediate")

    def revive(self) -> None:
        """Start it if a test that failed left it stopped."""
        try:
            self.control("status")
        except subprocess.CalledProcessError:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there while the block runs, and does nothing: all its processes are stopped."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        _stop(first)  # before the others: it makes new ones
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in map(int, children):
            _stop(pid)
        try:
            yield
        finally:
            for pid in (*map(int, children), first):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _as(self) -> list[str]:
        if self.user is None:
            return []
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups"]

    @property
    def group(self) -> str:
        return "nogroup" if self.user == "nobody" else str(self.user)

    def initialise(self) -> None:
        data = self.folder / "data"
        command = [*self._as(), self.programs / "initdb", "-D", data, "-U", "lading"]
        command += ["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self.folder}'",
            "fsync": "on" if self.durable else "off",
            "max_connections": "80",
            "shared_buffers": "'32MB'",
            "max_wal_size": "'256MB'",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def create_database(self) -> None:
        with psycopg.connect(
            f"postgresql://lading@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute("CREATE DATABASE lading")


@contextlib.contextmanager
def postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server of its own; about two seconds. One that is not ``durable`` never waits for disks."""
    found = programs()
    assert found is not None, "scripts/setup installs postgresql"
    folder = Path(tempfile.mkdtemp(prefix="lading-pg-"))
    user = _unprivileged() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    server = PostgresServer(folder, found, free_port(), user, durable=durable)
    try:
        server.initialise()
        server.start()
        server.create_database()
        yield server
    finally:
        _end(server)
        shutil.rmtree(folder, ignore_errors=True)


def _stop(pid: int) -> None:
    """Stop a process; it may go on for a moment after the signal, so wait until it does not."""
    deadline = time.monotonic() + _PATIENCE
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGSTOP)
        # Stopped, or ended just before: its parent is stopped and does not reap it.
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZX":
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.005)


def _unprivileged() -> str:
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise AssertionError("a server needs a user that is not root")


def _end(server: PostgresServer) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        server.stop()
        return
    # It did not start, or is ended already; nothing may stay behind.
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
