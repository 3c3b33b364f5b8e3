"""The two registries under load: ours as people run it, rights checked, and Debian's without."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import bcrypt

PROJECT = Path(__file__).parents[2]
PASSWORD = b"a password that nobody guesses"
PEER_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  delete: {{enabled: true}}
  filesystem: {{rootdirectory: {root}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
OUR_CONFIG = """\
root = "{root}"
port = 0
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


@dataclass
class Server:
    """A registry under load; ``headers`` carry the rights, where they are checked, and ``started``
    is how many seconds it took until it served."""

    name: str
    port: int
    process: subprocess.Popen[str]
    headers: dict[str, str] = field(default_factory=dict)
    started: float = 0.0

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def upload(self, data: bytes, digest: str, repository: str = "bench/app") -> None:
        """POST, then one PUT with the whole body."""
        status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        path = headers["Location"]
        path = path[path.index("/v2/") :]
        join = "&" if "?" in path else "?"
        octets = {"Content-Type": "application/octet-stream"}
        status, _, said = self.request("PUT", f"{path}{join}digest={digest}", data, octets)
        assert status == 201, (status, said)

    def pids(self) -> list[int]:
        """The processes that serve: the workers, or the only one."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] or [self.process.pid]

    def resident(self) -> int:
        """Resident memory of all of them, in bytes."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def ours(root: Path, folder: Path, *flags: str) -> Iterator[Server]:
    """``lading registry serve`` with users, rules and tokens; ``headers`` hold a token."""
    users = folder / "users"
    users.write_bytes(b"bench:" + bcrypt.hashpw(PASSWORD, bcrypt.gensalt(5)) + b"\n")
    config = folder / "ours.toml"
    config.write_text(OUR_CONFIG.format(root=root, users=users))
    command = [sys.executable, "-m", "lading", "registry", "serve", "-c", str(config), *flags]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        server = Server("lading", read_port(process), process)
        server.started = time.perf_counter() - began
        server.headers = {"Authorization": f"Bearer {token_for(server)}"}
        yield server
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def read_port(process: subprocess.Popen[str]) -> int:
    """Where a registry of ours says that it serves; exits when it does not."""
    assert process.stdout is not None
    select.select([process.stdout], [], [], 60)
    match = re.search(r"serving \S+:(\d+) from", process.stdout.readline())
    if match is None:
        sys.exit(f"lading ended with {process.poll()}")
    return int(match[1])


def token_for(server: Server) -> str:
    """What a client gets for its password: asked for as the challenge says."""
    _, headers, _ = server.request("GET", "/v2/bench/app/tags/list")
    fields = dict(re.findall(r'(\w+)="([^"]*)"', headers["WWW-Authenticate"]))
    scopes = [f"repository:bench/{name}:pull,push,delete" for name in ("app", "tags")]
    scopes += [f"repository:bench/client{number}:pull,push" for number in range(16)]
    scopes.append("registry:catalog:*")
    query = urlencode([("service", fields["service"]), *(("scope", scope) for scope in scopes)])
    basic = base64.b64encode(b"bench:" + PASSWORD).decode()
    path = urlsplit(fields["realm"]).path
    status, _, body = server.request(
        "GET", f"{path}?{query}", headers={"Authorization": f"Basic {basic}"}
    )
    assert status == 200, (status, body)
    return str(json.loads(body)["token"])


@contextmanager
def theirs(folder: Path, port: int) -> Iterator[Server]:
    """Debian's docker-registry, nobody's rights checked."""
    config = folder / "peer.yml"
    config.write_text(PEER_CONFIG.format(root=folder / "theirs", port=port))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    server = Server("docker-registry", port, process)
    try:
        for _ in range(100):
            time.sleep(0.1)
            if process.poll() is not None:
                sys.exit(f"docker-registry ended with {process.returncode}")
            try:
                server.request("GET", "/v2/")
                break
            except OSError:
                continue
        yield server
    finally:
        process.terminate()
        process.wait(30)
