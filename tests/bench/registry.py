"""The registry beside Debian's docker-registry: the same content, the same load, in turn.

Rates come from wrk, pushes and pulls from clients of our own that do not hash while they are timed.
Each round measures both registries, ours and theirs changing first place; the median round counts.
Our side checks users and rights by a token; theirs checks nothing. What only we are held to (pages
of long lists, memory of slow pulls, start-up) is measured on our side alone.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.registry_limits import limits
from tests.bench.registry_load import (
    OCI_MANIFEST,
    Asks,
    Wire,
    make_image,
    pull,
    push,
    sha256,
    together,
)
from tests.bench.registry_servers import Server, ours, theirs
from tests.ports import free_port

CONNECTIONS = 16
UPLOAD = 60 << 20
LAYERS, LAYER_SIZE = 10, 1 << 20


@dataclass(frozen=True)
class Case:
    """One comparison; larger is better."""

    name: str
    unit: str
    target: float
    measure: Callable[[Server], float]


def load(server: Server) -> dict[str, str]:
    """Push the content that is read; returns the paths by case."""
    blobs = {"1 KiB": b"k" * 1024, "1 MiB": b"m" * (1 << 20), "60 MB": b"g" * UPLOAD}
    image = make_image(0, 1024)
    for data in (image.blobs[0][1], *blobs.values()):
        server.upload(data, sha256(data))
    path = "/v2/bench/app/manifests/latest"
    kind = {"Content-Type": OCI_MANIFEST}
    status, _, said = server.request("PUT", path, image.manifest, kind)
    assert status == 201, said
    return {"manifest": path} | {
        name: f"/v2/bench/app/blobs/{sha256(data)}" for name, data in blobs.items()
    }


def wrk(path: str, seconds: float, *, threads: int = 1) -> Callable[[Server], float]:
    """Requests per second; any answer other than 2xx fails the benchmark.

    A thread of wrk reads some 2 GB/s. Where that is less than a server sends, it takes two, or the
    figure is wrk's.
    """

    def measure(server: Server) -> float:
        command = ["wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        for name, value in {**server.headers, "Accept": OCI_MANIFEST}.items():
            command += ["-H", f"{name}: {value}"]
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


def push_and_pull(server: Server) -> float:
    """Images a second that 16 clients push and pull at once."""
    images = [make_image(LAYERS, LAYER_SIZE) for _ in range(CONNECTIONS)]

    def job(wire: Asks, number: int) -> None:
        push(wire, f"bench/client{number}", images[number])
        pull(wire, f"bench/client{number}", images[number])

    return CONNECTIONS / together([Wire(server) for _ in images], job)


def cases(paths: dict[str, str], seconds: float) -> list[Case]:
    return [
        Case("manifest GET by tag, rights checked", "req/s", 10, wrk(paths["manifest"], seconds)),
        Case("blob GET 1 KiB", "req/s", 4, wrk(paths["1 KiB"], seconds)),
        Case("blob GET 1 MiB", "req/s", 2, wrk(paths["1 MiB"], seconds)),
        Case("blob GET 60 MB", "req/s", 1, wrk(paths["60 MB"], max(seconds, 2), threads=2)),
        Case("blob PUT 60 MB, fsync", "MB/s", 1.5, put_60_mb),
        Case("push+pull 10 layers, 16 clients", "img/s", 3, push_and_pull),
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
        "reached": us / peer >= case.target,
        "all": {name: [round(v, 1) for v in rates] for name, rates in values.items()},
    }


def show_case(row: dict[str, Any]) -> None:
    both = "  ".join(f"{name} {value:,.1f}" for name, value in row["median"].items())
    mark = "" if row["reached"] else "  MISSED"
    ratio = f"{row['ratio']:.2f} x"
    print(f"{row['case']:<36} {both} {row['unit']:<6} {ratio} ({row['target']}){mark}", flush=True)


def show_limit(row: dict[str, Any]) -> None:
    mark = "" if row["reached"] else "  MISSED"
    value = f"{row['value']:,.2f} {row['unit']}"
    print(f"{row['name']:<36} {value} (<= {row['bound']}) {row['detail']}{mark}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    for program in ("wrk", "docker-registry"):
        if shutil.which(program) is None:
            sys.exit(f"needs {program}")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-registry-")))
        us = stack.enter_context(ours(folder / "ours", folder))
        peer = stack.enter_context(theirs(folder, free_port()))
        paths = load(us)
        load(peer)
        for case in cases(paths, 1 if options.quick else 4):
            if options.only in case.name:
                rows.append(compare(case, [us, peer], 3 if options.quick else 7))
                show_case(rows[-1])
        if not options.only:
            for measure in limits(us, paths["60 MB"], UPLOAD, folder, quick=options.quick):
                for limit in measure():
                    rows.append({**asdict(limit), "reached": limit.reached})
                    show_limit(rows[-1])
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
