"""What is counted, in memory that all workers share: one row a worker, one slot a number.

A process writes its own row only, with plain stores; whoever is asked adds the rows up. The last
row is the supervisor's, to whom all of them belong: a worker that dies takes no count with it.
"""

from __future__ import annotations

import enum
import itertools
import mmap
from bisect import bisect_left
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from registry.routing import Kind

KINDS: Final = (*(kind.value for kind in Kind), "other")
METHODS: Final = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "other")
STATUSES: Final = (
    *(200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 416),
    *(429, 431, 499, 500, 502, 503, 507, 0),
)
"""Statuses that are counted one by one; 0 is any other."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds of the duration buckets in seconds; one more counts what took longer."""


class Count(enum.Enum):
    """Counters without labels, by their name and what they count."""

    SENT = ("sent_bytes", "Bytes of answers' bodies")
    RECEIVED = ("received_bytes", "Bytes of requests' bodies")
    CONNECTIONS = ("connections", "Connections taken")
    CONNECTIONS_REFUSED = ("connections_refused", "Connections over the limit")
    HEAD_TIMEOUTS = ("head_timeouts", "Connections closed before a first request came whole")
    BODY_TIMEOUTS = ("body_timeouts", "Requests whose body stalled or came too slowly")
    RELOADS = ("reloads", "Configurations read again, by worker")
    RELOAD_FAILURES = ("reload_failures", "Configurations refused while serving")
    LOG_DROPPED = ("log_dropped", "Log lines dropped because stderr was not read")
    WORKER_DEATHS = ("worker_deaths", "Workers that died and were replaced")
    PROXY_HITS = ("proxy_hits", "Requests to a cache that were answered with what was here")
    PROXY_MISSES = ("proxy_misses", "Requests to a cache that waited for its upstream's content")
    PROXY_STALE = ("proxy_stale", "Answers that their upstream could not be asked about")
    PROXY_FAULTS = ("proxy_upstream_errors", "Faults of upstreams; what they do not have is none")
    PROXY_BYTES = ("proxy_received_bytes", "Bytes of content brought from upstreams")


class Level(enum.Enum):
    """Gauges: numbers of this moment, zero again when a worker starts."""

    CONNECTIONS = ("connections_open", "Connections open now")
    REQUESTS = ("requests_active", "Requests under way now")
    PID = ("pid", "")


_REQUESTS: Final = MappingProxyType(
    {key: slot for slot, key in enumerate(itertools.product(KINDS, METHODS, STATUSES))}
)
_WIDTH: Final = len(BOUNDS) + 2  # the buckets, one for all that is longer, the sum
_DURATIONS: Final = MappingProxyType(
    {kind: len(_REQUESTS) + number * _WIDTH for number, kind in enumerate(KINDS)}
)
_NUMBERS: Final = MappingProxyType(
    {
        name: len(_REQUESTS) + len(KINDS) * _WIDTH + number
        for number, name in enumerate([*Count, *Level])
    }
)
SLOTS: Final = len(_REQUESTS) + len(KINDS) * _WIDTH + len(_NUMBERS)
_BYTES: Final = 8


class Tally:
    """The rows; ``row`` is the one this process writes. Used from one thread of it."""

    def __init__(self, workers: int) -> None:
        self._map = mmap.mmap(-1, (workers + 1) * SLOTS * _BYTES)
        self._view = memoryview(self._map).cast("Q")
        self.workers = workers
        self.row = workers

    def begin(self, worker: int, pid: int) -> None:
        """This process is that worker from now on; its gauges begin at zero."""
        self.row = worker
        self.forget(worker)
        self._view[worker * SLOTS + _NUMBERS[Level.PID]] = pid

    def forget(self, worker: int) -> None:
        """That worker is gone: what it counted stays, its gauges do not."""
        for level in Level:
            self._view[worker * SLOTS + _NUMBERS[level]] = 0

    def count(self, name: Count, amount: int = 1) -> None:
        """Add to a counter."""
        self._view[self.row * SLOTS + _NUMBERS[name]] += amount

    def move(self, name: Level, amount: int) -> None:
        """Move a gauge up or down."""
        self._view[self.row * SLOTS + _NUMBERS[name]] += amount

    def request(self, kind: str, method: str, status: int, seconds: float) -> None:
        """Count one answer."""
        slot = _REQUESTS.get((kind, method, status))
        if slot is None:
            known = method if method in METHODS else "other"
            slot = _REQUESTS[(kind, known, status if status in STATUSES else 0)]
        base = self.row * SLOTS
        self._view[base + slot] += 1
        durations = base + _DURATIONS[kind]
        self._view[durations + bisect_left(BOUNDS, seconds)] += 1
        self._view[durations + _WIDTH - 1] += int(seconds * 1e6)

    def total(self, name: Count | Level) -> int:
        """The sum of a number over all workers."""
        return self._sum(_NUMBERS[name])

    def pids(self) -> list[int]:
        """The process of each worker; 0 where none started yet."""
        slot = _NUMBERS[Level.PID]
        return [self._view[worker * SLOTS + slot] for worker in range(self.workers)]

    def requests(self) -> Iterator[tuple[tuple[str, str, int], int]]:
        """(kind, method, status) and how many there were, where there were any."""
        for key, slot in _REQUESTS.items():
            total = self._sum(slot)
            if total:
                yield key, total

    def durations(self) -> Iterator[tuple[str, list[int], float]]:
        """By kind: the number in each bucket (not cumulative) and the sum in seconds."""
        for kind, slot in _DURATIONS.items():
            buckets = [self._sum(slot + number) for number in range(_WIDTH - 1)]
            if any(buckets):
                yield kind, buckets, self._sum(slot + _WIDTH - 1) / 1e6

    def close(self) -> None:
        """Unmap the rows."""
        self._view.release()
        self._map.close()

    def _sum(self, slot: int) -> int:
        return sum(self._view[worker * SLOTS + slot] for worker in range(self.workers + 1))
