"""How throughput grows with replicas: 1, 2 and 4 of ours, and of docker-registry, on one S3 store.

``python -m tests.bench.replicas [--quick] [--json FILE]``

Each replica is held to a fifth of a processor by a control group, so that a machine of two has room
for four of them, PostgreSQL, the object store (versitygw) and the load: what grows is what a
replica does, what does not is what they share. Ours check a user's token and share an index in
PostgreSQL with fsync; theirs check nothing and have no index. Clients that push and pull send each
request to another replica than the one before it. Blobs go through the replicas, not by redirects.

Beside each rate stands what one operation took of the processors of replicas, PostgreSQL and the
store: by these figures ``docs/scaling.md`` plans.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.bench.registry_load import OCI_MANIFEST, Asks, Wire, make_image, pull, push, together
from tests.bench.registry_servers import Server
from tests.bench.replicas_servers import Backends, Fleet, our_fleet, peer_fleet
from tests.registry.postgres_kit import postgres
from tests.registry.s3.kit import running_server

COUNTS: Final = (1, 2, 4)
CLIENTS: Final = 8
TAGS: Final = 100
BLOB: Final = 1 << 20


@dataclass(frozen=True)
class Rate:
    """Operations a second, and processor time of one operation in microseconds by party."""

    operations: float
    work: dict[str, float]


class Turns:
    """A connection to each replica, used in turn; each client begins at another one."""

    def __init__(self, servers: Sequence[Server], first: int) -> None:
        self._wires = [Wire(server) for server in servers]
        self._turns = itertools.islice(itertools.cycle(self._wires), first, None)

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, dict[str, str]]:
        """See ``Wire.ask``."""
        return next(self._turns).ask(method, path, body, kind)

    def close(self) -> None:
        """Close all of them."""
        for wire in self._wires:
            wire.close()


def measured(fleet: Fleet, load: Callable[[], float]) -> Rate:
    """``load`` returns how many operations it did."""
    before, started = fleet.work(), time.perf_counter()
    operations = load()
    seconds = time.perf_counter() - started
    spent = {name: value - before[name] for name, value in fleet.work().items()}
    work = {name: value / operations * 1e6 for name, value in spent.items()}
    return Rate(operations / seconds, work)


def reads(path: str, fleet: Fleet, seconds: float) -> Rate:
    """wrk against every replica at once; any answer other than 2xx ends the benchmark."""

    def one(server: Server) -> float:
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:.0f}s"]
        for name, value in {**server.headers, "Accept": OCI_MANIFEST}.items():
            command += ["-H", f"{name}: {value}"]
        command.append(f"http://127.0.0.1:{server.port}{path}")
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        match = re.search(r"(\d+) requests in", out)
        if match is None or "Non-2xx" in out or "Socket errors" in out:
            raise RuntimeError(f"{server.name} {path}:\n{out}")
        return float(match[1])

    def all_of_them() -> float:
        with ThreadPoolExecutor(len(fleet.servers)) as pool:
            return sum(pool.map(one, fleet.servers))

    return measured(fleet, all_of_them)


def images(fleet: Fleet, seconds: float) -> Rate:
    """Images of four small layers, pushed and pulled by as many clients as there are."""
    rounds = max(1, round(seconds))
    ready = [[make_image(4, 64 << 10) for _ in range(rounds)] for _ in range(CLIENTS)]

    def job(wire: Asks, number: int) -> None:
        for image in ready[number]:
            push(wire, f"bench/client{number}", image)
            pull(wire, f"bench/client{number}", image)

    return _by_clients(fleet, job, CLIENTS * rounds)


def writes(fleet: Fleet, seconds: float) -> Rate:
    """Tags that move: one durable write to the index each."""
    image = make_image(1, 1024)
    turns = Turns(fleet.servers, 0)
    push(turns, "bench/app", image)
    turns.close()
    moves = round(20 * seconds)

    def job(wire: Asks, number: int) -> None:
        for move in range(moves):
            path = f"/v2/bench/app/manifests/w{number}-{move}"
            status, _ = wire.ask("PUT", path, image.manifest, OCI_MANIFEST)
            if status != 201:
                raise RuntimeError(f"{fleet.name} {path}: {status}")

    return _by_clients(fleet, job, CLIENTS * moves)


def _by_clients(fleet: Fleet, job: Callable[[Asks, int], None], operations: int) -> Rate:
    wires = [Turns(fleet.servers, number) for number in range(CLIENTS)]

    def load() -> float:
        together(wires, job)
        return operations

    return measured(fleet, load)


CASES: Final[dict[str, Callable[[Fleet, float], Rate]]] = {
    "manifest GET by tag": partial(reads, "/v2/bench/app/manifests/latest"),
    "tags/list page of 100": partial(reads, "/v2/bench/app/tags/list?n=100"),
    "blob GET 1 MiB": partial(reads, ""),
    "tag PUT": writes,
    "push+pull, 4 layers": images,
}


def prepare(fleet: Fleet) -> dict[str, Callable[[Fleet, float], Rate]]:
    """Push what is read; returns the cases."""
    image = make_image(1, BLOB)
    turns = Turns(fleet.servers, 0)
    push(turns, "bench/app", image)
    for number in range(TAGS):
        turns.ask("PUT", f"/v2/bench/app/manifests/t{number:04}", image.manifest, OCI_MANIFEST)
    turns.close()
    layer = partial(reads, f"/v2/bench/app/blobs/{image.blobs[1][0]}")
    return {**CASES, "blob GET 1 MiB": layer}


def fleets(
    backends: Backends, folder: Path, *, seconds: float, rounds: int
) -> Iterator[tuple[str, int, str, list[Rate]]]:
    """Every case at every number of replicas, ours and theirs in turn."""
    cases: dict[str, dict[str, Callable[[Fleet, float], Rate]]] = {}
    for count in COUNTS:
        with ExitStack() as stack:
            both = [
                stack.enter_context(make(count, backends, folder, redirect=False))
                for make in (our_fleet, peer_fleet)
            ]
            for fleet in both:
                # What the first replica took is there for all that come after it.
                if fleet.name not in cases:
                    cases[fleet.name] = prepare(fleet)
            for name in CASES:
                rates: list[list[Rate]] = [[], []]
                for turn in range(rounds):
                    for place in (0, 1) if turn % 2 == 0 else (1, 0):
                        fleet = both[place]
                        rates[place].append(cases[fleet.name][name](fleet, seconds))
                for fleet, measurements in zip(both, rates, strict=True):
                    yield name, count, fleet.name, measurements


def row_of(name: str, count: int, who: str, rates: list[Rate]) -> dict[str, Any]:
    """The median by rate, as a result."""
    middle = statistics.median_low([rate.operations for rate in rates])
    chosen = next(rate for rate in rates if rate.operations == middle)
    return {
        "case": name,
        "replicas": count,
        "registry": who,
        "per_second": round(chosen.operations, 1),
        "work_us": {party: round(value, 1) for party, value in chosen.work.items()},
        "all": [round(rate.operations, 1) for rate in rates],
    }


def show(row: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """A line for a person; growth is against one replica, the ratio against the peer."""
    first = next(r for r in rows if (r["case"], r["registry"]) == (row["case"], row["registry"]))
    ours = [r for r in rows if (r["case"], r["replicas"]) == (row["case"], row["replicas"])]
    growth = row["per_second"] / first["per_second"]
    work = "  ".join(f"{name} {value:,.0f} us" for name, value in row["work_us"].items())
    ratio = f"  {ours[0]['per_second'] / row['per_second']:.2f} x" if len(ours) > 1 else ""
    print(
        f"{row['case']:<22} {row['replicas']} x {row['registry']:<16}"
        f"{row['per_second']:>9,.1f}/s  grew {growth:.2f} x  {work}{ratio}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    for program in ("wrk", "docker-registry"):
        if shutil.which(program) is None:
            sys.exit(f"needs {program}")
    seconds, rounds = (1.0, 1) if options.quick else (4.0, 3)
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-replicas-") as name,
        postgres(durable=True) as database,
        running_server(Path(name), "--keep-alive") as objects,
    ):
        backends = Backends(database, objects)
        for result in fleets(backends, Path(name), seconds=seconds, rounds=rounds):
            rows.append(row_of(*result))
            show(rows[-1], rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
