"""What the registry is held to without a peer: pages, memory, start-up, collection."""

from __future__ import annotations

import http.client
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench import registry_stores as stores
from tests.bench.registry_load import Wire, make_image, pull, push, slow_pulls
from tests.bench.registry_servers import PROJECT, Server, ours

CLIENTS = 16
PULLS = 1000


@dataclass(frozen=True)
class Limit:
    """One number of ours and its bound; smaller is better."""

    name: str
    unit: str
    bound: float
    value: float
    detail: str = ""
    failed: int = 0

    @property
    def reached(self) -> bool:
        return self.value <= self.bound and not self.failed


def limits(
    us: Server, blob: str, size: int, folder: Path, *, quick: bool
) -> Iterator[Callable[[], list[Limit]]]:
    """The rows, each to be called for its numbers."""
    tags = 100_000
    rows = 100_000 if quick else 1_000_000
    blobs = 10_000 if quick else 200_000
    yield lambda: [_slow_pulls(us, blob, size, quick=quick)]
    yield lambda: _pages(folder, tags=tags, repositories=10_000)
    yield lambda: [_start_up(folder, rows)]
    yield lambda: [_collection(folder, blobs)]


def _slow_pulls(us: Server, path: str, size: int, *, quick: bool) -> Limit:
    before = us.resident() / 1e6
    finish = 50 if quick else PULLS
    pulls = slow_pulls(us, path, size, PULLS, slow=1 if quick else 5, finish=finish)
    rate = finish * size / pulls.seconds / 1e9
    detail = f"{before:.0f} MB before, {pulls.failed} failed, {rate:.1f} GB/s"
    name = f"{PULLS} slow pulls of {size / 1e6:.0f} MB"
    return Limit(name, "MB", 250, pulls.resident / 1e6, detail, pulls.failed)


def _page_time(server: Server, path: str, repeat: int = 60) -> float:
    """Median milliseconds of one page, on a kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        connection.request("GET", path, headers=server.headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
        times.append((time.perf_counter() - started) * 1e3)
    connection.close()
    return statistics.median(times)


def _pages(folder: Path, *, tags: int, repositories: int) -> list[Limit]:
    """Pages of lists that grow tenfold: the time of a page does not."""
    found: dict[str, list[float]] = {"tags": [], "repositories": []}
    for part in (10, 1):
        root = folder / f"pages-{part}"
        stores.many_tags(root, tags // part)
        stores.many_repositories(root, repositories // part)
        with ours(root, folder) as server:
            path = f"/v2/bench/tags/tags/list?n=100&last=v{tags // part // 2:06}"
            found["tags"].append(_page_time(server, path))
            path = f"/v2/_catalog?n=100&last=bench/r{repositories // part // 2:06}"
            found["repositories"].append(_page_time(server, path))
    return [
        Limit(f"page of 100 of {count:,} {name}", "ms", 5, many, f"{few:.2f} of a tenth")
        for (name, (few, many)), count in zip(found.items(), (tags, repositories), strict=True)
    ]


def _start_up(folder: Path, rows: int) -> Limit:
    """From the command to its word that it serves, on a large index; the median of five starts."""
    root = folder / "rows"
    stores.many_rows(root, rows)
    times = []
    for _ in range(5):
        with ours(root, folder) as server:
            times.append(server.started)
    return Limit(f"start-up on {rows:,} index rows", "s", 0.5, statistics.median(times))


def _peak(process: subprocess.Popen[bytes]) -> int:
    """The most memory a process had resident, in bytes; returns when it has ended.

    wait4(2) would not tell: its figure begins with that of the process which called execve(2).
    """
    peak = 0
    while process.poll() is None:
        with suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                peak = max(peak, int(found[1]) << 10)
        time.sleep(0.02)
    return peak


def _collection(folder: Path, blobs: int) -> Limit:
    """A collection beside clients that push and pull: its memory, and what failed for them."""
    root = folder / "garbage"
    stores.garbage(root, blobs)
    stop = threading.Event()
    failures: list[BaseException] = []
    done = 0

    def use(server: Server, number: int) -> None:
        nonlocal done
        try:
            wire = Wire(server)
            while not stop.is_set():
                image = make_image(3, 1 << 16)
                push(wire, f"bench/client{number}", image)
                pull(wire, f"bench/client{number}", image)
                done += 1
            wire.close()
        except BaseException as error:  # noqa: BLE001 -- counted
            failures.append(error)

    with ours(root, folder) as server:
        threads = [threading.Thread(target=use, args=(server, n)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        started = time.perf_counter()
        command = [sys.executable, "-m", "lading", "registry", "gc", "--storage", str(root)]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
        peak = _peak(process)
        seconds = time.perf_counter() - started
        stop.set()
        for thread in threads:
            thread.join()
    assert process.returncode == 0, process.returncode
    detail = f"{seconds:.1f} s, {done} images pushed and pulled, {len(failures)} failed"
    return Limit(
        f"collection of {blobs:,} blobs under load",
        "MB",
        200,
        peak / 1e6,
        detail,
        len(failures),
    )
