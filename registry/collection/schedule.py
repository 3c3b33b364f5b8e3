"""Collections by the server itself, when they are due."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from registry.collection.collector import Collector
from registry.errors import CollectionBusyError

LOOK_SECONDS: Final = 60.0
"""How often to ask whether a collection is due."""


async def collect_when_due(collector: Collector, *, clock: Callable[[], float] = time.time) -> str:
    """Collect if the interval is over or the last budget ran out; returns a line for the log.

    When cancelled it ends the step under way first, as that uses what is closed next.
    """
    if not await asyncio.to_thread(collector.is_due, clock()):
        return ""
    ended = threading.Event()
    run = partial(collector.run, budget=collector.settings.budget, stop=ended.is_set)
    future = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        report = await asyncio.shield(future)
    except asyncio.CancelledError:
        ended.set()
        await asyncio.wait([future])
        raise
    except CollectionBusyError:
        return ""
    return (
        f"{report.manifests} manifests, {report.blobs} blobs, {report.files} files with"
        f" {report.bytes} bytes removed in {report.seconds} s"
    )
