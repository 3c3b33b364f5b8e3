"""How long a container's network takes: attach and detach, alone and beside many others.

Run as root: ``python -m tests.bench.network_attach [containers]``. Works in a network namespace of
its own; prints medians and 90th percentiles in milliseconds as JSON lines.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from runtime import syscalls
from runtime.network import rtnetlink
from runtime.network.endpoint import Endpoint, attach, detach
from runtime.network.netlink import NetlinkSocket
from runtime.network.ports import PortBinding

_CLONE_NEWNET = 0x40000000


def new_namespace() -> int:
    """A descriptor of a new network namespace."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.unshare(_CLONE_NEWNET)
    made = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.setns(own, _CLONE_NEWNET)
    os.close(own)
    return made


def attach_timed(
    namespace: int, name: str, ports: list[PortBinding], ledger: Path, times: list[float]
) -> Endpoint:
    """Attach, and note the milliseconds it took."""
    start = time.perf_counter()
    endpoint = attach(namespace, identifier=name, ports=ports, ledger_directory=ledger)
    times.append((time.perf_counter() - start) * 1000)
    return endpoint


def report(name: str, times: list[float]) -> None:
    """Print one line of the result."""
    ordered = sorted(times)
    line = {
        "case": name,
        "n": len(times),
        "median_ms": round(statistics.median(times), 3),
        "p90_ms": round(ordered[int(len(ordered) * 0.9)], 3),
    }
    print(json.dumps(line), flush=True)


def measure(name: str, rounds: int, ledger: Path, ports: list[PortBinding]) -> None:
    """Attach and detach ``rounds`` endpoints one after the other."""
    attaching: list[float] = []
    detaching: list[float] = []
    for number in range(rounds):
        namespace = new_namespace()
        endpoint = attach_timed(namespace, f"{name}{number}", ports, ledger, attaching)
        start = time.perf_counter()
        detach(endpoint)
        detaching.append((time.perf_counter() - start) * 1000)
        os.close(namespace)
    report(f"attach {name}", attaching)
    report(f"detach {name}", detaching)


def main() -> None:
    """Measure with an empty bridge, then with the given number of containers on it."""
    neighbours = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    syscalls.unshare(_CLONE_NEWNET)
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        links.execute([rtnetlink.set_up_by_name("lo")])
    with tempfile.TemporaryDirectory() as directory:
        ledger = Path(directory)
        measure("first", 1, ledger, [])
        measure("plain", 60, ledger, [])
        measure("with a port", 60, ledger, [PortBinding(80)])
        others = [new_namespace() for _ in range(neighbours)]
        for number, namespace in enumerate(others):
            attach(namespace, identifier=f"neighbour{number}", ledger_directory=ledger)
        measure(f"beside {neighbours}", 60, ledger, [PortBinding(80)])


if __name__ == "__main__":
    main()
