"""The tally in Prometheus' text format, with what the machine says of workers and disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from registry.backing import Backing
from registry.mirroring.report import read_all
from registry.smallfiles import SmallFile
from registry.sql.errors import DatabaseError
from registry.tally import BOUNDS, Count, Level, Tally

_PREFIX: Final = "lading_registry_"
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def render(
    tally: Tally, root: Path, backing: Backing | None = None, *, webhooks: bool = False
) -> bytes:
    """The page a scrape gets; blocks for a moment, as it asks the disk, or the database.

    ``backing`` is where replicas share mirrors and ``webhooks``: each tells of them the same.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(tally, root, backing, webhooks=webhooks))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(
        self, tally: Tally, root: Path, backing: Backing | None, *, webhooks: bool
    ) -> None:
        self._tally = tally
        self._root = root
        self._files: SmallFile = root if backing is None else backing.files
        self._stores = None if backing is None or backing.shared is None else backing.stores
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        """The families, summed over all workers."""
        yield from self._requests()
        for count in Count:
            name, text = count.value
            yield CounterMetricFamily(_PREFIX + name, text, value=self._tally.total(count))
        for level in (Level.CONNECTIONS, Level.REQUESTS):
            name, text = level.value
            yield GaugeMetricFamily(_PREFIX + name, text, value=self._tally.total(level))
        yield from self._mirrors()
        yield from self._machine()
        shared = self._stores is not None
        if self._webhooks if shared else (self._root / "events.db").exists():
            from registry.events.metrics import families

            yield from families(self._root, self._stores)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            f"{_PREFIX}http_requests", "Requests answered", labels=("kind", "method", "code")
        )
        for (kind, method, status), total in self._tally.requests():
            requests.add_metric((kind, method, str(status or "other")), total)
        yield requests
        durations = HistogramMetricFamily(
            f"{_PREFIX}http_request_duration_seconds",
            "From a request's head to the end of its answer",
            labels=("kind",),
        )
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        for kind, buckets, seconds in self._tally.durations():
            cumulative = list(zip(bounds, accumulate(buckets), strict=True))
            durations.add_metric((kind,), cumulative, sum_value=seconds)
        yield durations

    def _mirrors(self) -> Iterator[Metric]:
        """How mirrors fare, where there are any."""
        try:
            found = read_all(self._files)
        except DatabaseError:
            return
        if not found:
            return
        for name, text, gauge in (
            ("succeeded", "When the last run without a problem ended", True),
            ("error", "Whether the latest run had a problem", True),
            ("failures", "Runs with a problem", False),
            ("manifests", "Manifests copied", False),
            ("bytes", "Bytes of blobs copied", False),
        ):
            kind = GaugeMetricFamily if gauge else CounterMetricFamily
            family = kind(f"{_PREFIX}mirror_{name}", text, labels=("mirror",))
            for mirror, report in found.items():
                value = getattr(report, name)
                family.add_metric((mirror,), bool(value) if name == "error" else value)
            yield family

    def _machine(self) -> Iterator[Metric]:
        resident = GaugeMetricFamily(
            f"{_PREFIX}worker_resident_bytes", "Resident memory", labels=("worker",)
        )
        for worker, pid in enumerate(self._tally.pids()):
            resident.add_metric((str(worker),), _resident(pid))
        yield resident
        disk = os.statvfs(self._root)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        yield GaugeMetricFamily(f"{_PREFIX}disk_free_bytes", "Room for the store", value=free)
        yield GaugeMetricFamily(f"{_PREFIX}disk_size_bytes", "Size of the store's disk", value=size)
        index = self._root / "index.db"
        size = index.stat().st_size if index.exists() else 0
        yield GaugeMetricFamily(f"{_PREFIX}index_bytes", "Size of the index", value=size)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
