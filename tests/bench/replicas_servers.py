"""Replicas under load: some of ours, or of docker-registry, on one object store, each held back.

A control group gives every replica the same small share of a processor, so that one machine shows
what several would do, as far as they do not wait for what they share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bcrypt

from tests.bench.registry_servers import PASSWORD, PROJECT, Server, read_port, token_for
from tests.ports import free_port
from tests.registry.postgres_kit import PostgresServer
from tests.registry.s3.kit import ACCESS, SECRET
from tests.registry.s3.kit import Server as ObjectServer

SHARE: Final = 0.2
"""Of one processor, for each replica."""
_PERIOD: Final = 10_000
"""Microseconds in which a share is counted."""

_OUR_CONFIG: Final = """\
root = "{root}"
port = 0
workers = 1
[index]
type = "postgresql"
url = "{database}"
schema = "{schema}"
[storage]
type = "s3"
endpoint = "{endpoint}"
bucket = "{bucket}"
prefix = "ours/"
path_style = true
redirect = {redirect}
[log]
level = "warning"
[collection]
interval = "none"
[access]
htpasswd = "{users}"
[access.tokens]
lifetime = "2h"
[[access.rules]]
repositories = ["bench/**"]
actions = ["*"]
users = ["bench"]
"""
_PEER_CONFIG: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  redirect: {{disable: {direct}}}
  s3:
    accesskey: {key}
    secretkey: {secret}
    region: us-east-1
    regionendpoint: {endpoint}
    bucket: {bucket}
    rootdirectory: /theirs
    secure: false
    v4auth: true
http:
  addr: "127.0.0.1:{port}"
  secret: the same for all of them
"""


@dataclass(frozen=True)
class Backends:
    """What replicas share."""

    database: PostgresServer
    objects: ObjectServer


@dataclass(frozen=True)
class Fleet:
    """The replicas of one registry, and whose work counts, as process ids by party."""

    name: str
    servers: tuple[Server, ...]
    parties: Mapping[str, tuple[int, ...]]

    def work(self) -> dict[str, float]:
        """Seconds of processor time of each party so far, with its children."""
        return {name: sum(map(_tree_seconds, pids)) for name, pids in self.parties.items()}


@contextmanager
def our_fleet(count: int, backends: Backends, folder: Path, *, redirect: bool) -> Iterator[Fleet]:
    """``lading registry serve`` so often, one worker each; users and rules are checked."""
    users = folder / "users"
    users.write_bytes(b"bench:" + bcrypt.hashpw(PASSWORD, bcrypt.gensalt(5)) + b"\n")
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            config = folder / f"ours{number}.toml"
            config.write_text(
                _OUR_CONFIG.format(
                    root=folder / f"ours{number}",
                    users=users,
                    database=backends.database.url,
                    schema="bench",
                    endpoint=backends.objects.endpoint,
                    bucket=backends.objects.bucket,
                    redirect=str(redirect).lower(),
                )
            )
            command = [sys.executable, "-m", "lading", "registry", "serve", "-c", str(config)]
            process = stack.enter_context(_held_back(command, backends))
            servers.append(Server("lading", read_port(process), process))
        token = token_for(servers[0])
        for server in servers:
            server.headers = {"Authorization": f"Bearer {token}"}
        yield _fleet(tuple(servers), {"postgresql": (_postmaster(backends),)}, backends)


@contextmanager
def peer_fleet(count: int, backends: Backends, folder: Path, *, redirect: bool) -> Iterator[Fleet]:
    """Debian's docker-registry so often."""
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            port = free_port()
            config = folder / f"peer{number}.yml"
            config.write_text(
                _PEER_CONFIG.format(
                    key=ACCESS,
                    secret=SECRET,
                    endpoint=backends.objects.endpoint,
                    bucket=backends.objects.bucket,
                    direct=str(not redirect).lower(),
                    port=port,
                )
            )
            command = ["docker-registry", "serve", str(config)]
            process = stack.enter_context(_held_back(command, backends))
            servers.append(Server("docker-registry", port, process))
        for server in servers:
            _answers(server)
        yield _fleet(tuple(servers), {}, backends)


def _fleet(
    servers: tuple[Server, ...], more: Mapping[str, tuple[int, ...]], backends: Backends
) -> Fleet:
    replicas = tuple(server.process.pid for server in servers)
    parties = {"replicas": replicas, **more, "store": (backends.objects.process.pid,)}
    return Fleet(servers[0].name, servers, parties)


@contextmanager
def _held_back(command: list[str], backends: Backends) -> Iterator[subprocess.Popen[str]]:
    """A process whose processor time is limited from its first instruction."""
    # With a bundle of authorities the peer's SDK refuses the transport it is given.
    inherited = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with _group() as group:
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *command],
            cwd=PROJECT,
            env=inherited | backends.objects.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if command[0] == "docker-registry" else None,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def _group() -> Iterator[Path]:
    """A control group with the share; whatever is in it has ended when this does."""
    old = Path("/sys/fs/cgroup/cpu")
    base = old if (old / "cpu.cfs_quota_us").exists() else Path("/sys/fs/cgroup")
    name = f"lading-bench-{os.urandom(4).hex()}"
    group = base / name
    quota = int(SHARE * _PERIOD)
    try:
        group.mkdir()
        if base == old:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
    except OSError as error:
        sys.exit(f"needs root and the cpu controller of control groups: {error}")
    try:
        yield group
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            with suppress(OSError):
                group.rmdir()
            time.sleep(0.01)


def _answers(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError):
            if server.request("GET", "/v2/")[0] == 200:
                return
        if time.monotonic() > deadline or server.process.poll() is not None:
            sys.exit(f"{server.name} does not answer")
        time.sleep(0.1)


def _postmaster(backends: Backends) -> int:
    lines = (backends.database.folder / "data" / "postmaster.pid").read_text().splitlines()
    return int(lines[0])


def _tree_seconds(pid: int) -> float:
    """Processor seconds of a process and all below it, those that ended included (proc(5))."""
    total = 0.0
    waiting = [pid]
    while waiting:
        one = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):
            fields = (one / "stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            for task in (one / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total
