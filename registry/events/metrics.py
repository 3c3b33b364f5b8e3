"""The queue of events in Prometheus' terms; its counters are kept in it and outlive restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from registry.errors import RegistryError
from registry.events.queue import EventQueue
from registry.events.records import Standing
from registry.sql.errors import STORE_ERRORS
from registry.sql.stores import Stores

_PREFIX: Final = "lading_registry_events_"


def families(root: Path, stores: Stores | None = None) -> Iterator[Metric]:
    """What to tell of each webhook; blocks, as it reads the queue.

    A queue that cannot be read takes only its own metrics away.
    """
    try:
        with closing(EventQueue(root, stores)) as queue:
            standings = queue.standings()
    except (*STORE_ERRORS, RegistryError):
        readable, standings = 0, list[Standing]()
    else:
        readable = 1
    yield GaugeMetricFamily(f"{_PREFIX}readable", "1 for a queue that can be read", value=readable)
    now = time.time()
    for name, text in (
        ("delivered", "Events that their receiver took"),
        ("failed", "Attempts that failed"),
        ("died", "Events that were given up"),
        ("dropped", "Events forgotten because there were too many"),
    ):
        counter = CounterMetricFamily(f"{_PREFIX}{name}", text, labels=("webhook",))
        for standing in standings:
            counter.add_metric((standing.name,), getattr(standing, name))
        yield counter
    gauges = [
        GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=("webhook",))
        for name, text in (
            ("pending", "Events that wait"),
            ("dead", "Events that were given up and are kept"),
            ("oldest_age_seconds", "Since when the oldest event waits"),
            ("gone", "1 for a receiver that wants nothing more"),
        )
    ]
    for it in standings:
        age = 0.0 if it.oldest is None else max(0.0, now - it.oldest)
        values = (it.pending, it.dead, age, int(it.gone is not None))
        for gauge, value in zip(gauges, values, strict=True):
            gauge.add_metric((it.name,), value)
    yield from gauges
