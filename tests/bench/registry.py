"""The registry beside Debian's docker-registry: the same content, the same load, in turn.

Rates come from wrk, uploads from a plain socket client that hashes nothing while it is timed. Each
round measures both registries, ours and theirs changing first place; the median round counts.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = 16
UPLOAD = 60 << 20
PEER_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  delete: {{enabled: true}}
  filesystem: {{rootdirectory: {root}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Server:
    """A registry under load."""

    name: str
    port: int

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("Location") or ""
        finally:
            connection.close()

    def upload(self, data: bytes, digest: str) -> None:
        """POST, then one PUT with the whole body: what docker and skopeo come down to."""
        status, location = self.request("POST", "/v2/bench/app/blobs/uploads/")
        assert status == 202, status
        path = location[location.index("/v2/") :]
        join = "&" if "?" in path else "?"
        octets = {"Content-Type": "application/octet-stream"}
        status, _ = self.request("PUT", f"{path}{join}digest={digest}", data, octets)
        assert status == 201, status


@dataclass(frozen=True)
class Case:
    """One measurement; larger is better."""

    name: str
    unit: str
    target: float
    measure: Callable[[Server], float]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextmanager
def running(command: list[str], port: int, name: str) -> Iterator[Server]:
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(name, port)
    try:
        for _ in range(100):
            time.sleep(0.1)
            if process.poll() is not None:
                sys.exit(f"{name} ended with {process.returncode}")
            try:
                server.request("GET", "/v2/")
                break
            except OSError:
                continue
        yield server
    finally:
        process.terminate()
        process.wait(30)


def ours(folder: Path, port: int) -> list[str]:
    code = (
        "import sys, pathlib, registry.serve as s, registry.config as c\n"
        "s.serve(c.RegistryConfig(root=pathlib.Path(sys.argv[1]), port=int(sys.argv[2])))"
    )
    return [sys.executable, "-c", code, str(folder / "ours"), str(port)]


def theirs(folder: Path, port: int) -> list[str]:
    config = folder / "peer.yml"
    config.write_text(PEER_CONFIG.format(root=folder / "theirs", port=port))
    return ["docker-registry", "serve", str(config)]


def free_ports(count: int) -> list[int]:
    import socket

    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [s.getsockname()[1] for s in sockets]


def load(server: Server) -> dict[str, str]:
    """Push the content that is read; returns the paths by case."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    blobs = {"1 KiB": b"k" * 1024, "1 MiB": b"m" * (1 << 20), "60 MB": b"g" * UPLOAD}
    for data in (config, *blobs.values()):
        server.upload(data, sha256(data))
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    layer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": sha256(config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": layer, "digest": sha256(data), "size": len(data)}
                for data in blobs.values()
            ],
        }
    ).encode()
    path = "/v2/bench/app/manifests/latest"
    status, _ = server.request("PUT", path, manifest, {"Content-Type": media_type})
    assert status == 201, status
    return {"manifest": path} | {
        name: f"/v2/bench/app/blobs/{sha256(data)}" for name, data in blobs.items()
    }


def wrk(path: str, seconds: float) -> Callable[[Server], float]:
    """Requests per second; any answer other than 2xx fails the benchmark."""

    def measure(server: Server) -> float:
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        command += ["-H", "Accept: application/vnd.docker.distribution.manifest.v2+json"]
        command.append(f"http://127.0.0.1:{server.port}{path}")
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out:
            sys.exit(f"{server.name} {path}:\n{out}")
        match = re.search(r"Requests/sec:\s+([\d.]+)", out)
        assert match is not None, out
        return float(match[1])

    return measure


def put_60_mb(server: Server) -> float:
    """MB per second of a monolithic upload, its session included."""
    data = os.urandom(1 << 20) * 60
    digest = sha256(data)
    started = time.perf_counter()
    server.upload(data, digest)
    return len(data) / 1e6 / (time.perf_counter() - started)


def cases(paths: dict[str, str], seconds: float) -> list[Case]:
    return [
        Case("manifest GET by tag", "req/s", 10, wrk(paths["manifest"], seconds)),
        Case("blob GET 1 KiB", "req/s", 4, wrk(paths["1 KiB"], seconds)),
        Case("blob GET 1 MiB", "req/s", 2, wrk(paths["1 MiB"], seconds)),
        Case("blob GET 60 MB", "req/s", 1, wrk(paths["60 MB"], max(seconds, 2))),
        Case("blob PUT 60 MB", "MB/s", 1.5, put_60_mb),
    ]


def compare(case: Case, servers: list[Server], rounds: int) -> dict[str, Any]:
    """Measure in turn, changing who is first; the median of each counts."""
    values: dict[str, list[float]] = {server.name: [] for server in servers}
    orders = itertools.cycle([servers, servers[::-1]])
    for order in itertools.islice(orders, rounds):
        for server in order:
            values[server.name].append(case.measure(server))
    medians = {name: statistics.median(rates) for name, rates in values.items()}
    us, peer = (medians[server.name] for server in servers)
    return {
        "case": case.name,
        "unit": case.unit,
        "target": f">= {case.target} x",
        "median": {name: round(value, 1) for name, value in medians.items()},
        "ratio": round(us / peer, 2),
        "all": {name: [round(v, 1) for v in rates] for name, rates in values.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    for program in ("wrk", "docker-registry"):
        if shutil.which(program) is None:
            sys.exit(f"needs {program}")
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-registry-")))
        port, peer_port = free_ports(2)
        us = stack.enter_context(running(ours(folder, port), port, "lading"))
        peer_command = theirs(folder, peer_port)
        peer = stack.enter_context(running(peer_command, peer_port, "docker-registry"))
        paths = load(us)
        load(peer)
        for case in cases(paths, 1 if options.quick else 4):
            row = compare(case, [us, peer], 3 if options.quick else 7)
            rows.append(row)
            both = "  ".join(f"{name} {value:,.0f}" for name, value in row["median"].items())
            line = f"{case.name:<22} {both} {case.unit:<6} {row['ratio']:.2f} x"
            print(f"{line}  target {row['target']}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
