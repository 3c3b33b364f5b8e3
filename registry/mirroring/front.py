"""Mirrors at work: which are due, and one run at a time of each, in all processes.

Runs are tasks of their own, so that a long one delays nothing else that the schedule does. A run
that had a problem or was cut short is begun again soon, and goes on where content is missing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol

from images.errors import ImagesError
from registry.errors import ApiError
from registry.mirroring import report as reports
from registry.mirroring.report import Report
from registry.mirroring.settings import Direction, MirrorRule
from registry.service import Registry
from registry.smallfiles import SmallFile

log = logging.getLogger("registry")

AGAIN: Final = 300.0
"""Seconds from the beginning of a run that did not copy everything to that of the next."""


class RunLocks(Protocol):
    """Locks between all processes that may run a mirror."""

    def hold(self, key: str) -> AbstractAsyncContextManager[None]:
        """Have the lock of ``key``, as soon as no other process has it."""
        ...

    def close(self) -> None:
        """Give all locks back."""
        ...


class Mirrors:
    """The mirrors of one registry; making it blocks."""

    def __init__(
        self,
        rules: Sequence[MirrorRule],
        root: SmallFile,
        locks: RunLocks,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = tuple(rules)
        self._root = root
        self._clock = clock
        self._locks = locks
        self._running: dict[str, asyncio.Task[Report]] = {}

    def replace(self, rules: Sequence[MirrorRule]) -> None:
        """Go by other rules; runs under way end by the old ones."""
        self._rules = tuple(rules)

    async def look(self, registry: Registry) -> str:
        """Begin the runs that are due; returns what to log."""
        begun = []
        for rule in self._rules:
            stopped = registry.config.read_only and rule.direction is Direction.PULL
            if stopped or rule.name in self._running:
                continue
            last = await registry.workers.io(partial(reports.read, self._root, rule.name))
            if is_due(last, rule, self._clock()):
                task = asyncio.create_task(self.run(registry, rule))
                self._running[rule.name] = task
                task.add_done_callback(partial(self._ended, rule.name))
                begun.append(rule.name)
        return f"{', '.join(begun)} begun" if begun else ""

    async def run(self, registry: Registry, rule: MirrorRule) -> Report:
        """Run a mirror once, after a run of another process; returns how it went."""
        async with self._locks.hold(rule.name):
            report = await registry.workers.io(partial(reports.read, self._root, rule.name))
            report.begin(self._clock())
            keep = partial(reports.write, self._root, rule.name, report)
            await registry.workers.io(keep)
            try:
                await _copy(registry, rule, report)
            except (ImagesError, ApiError, OSError, sqlite3.Error) as error:
                report.problem(str(error))
            report.end(self._clock())
            await registry.workers.io(keep)
        if report.error:
            log.warning("mirror %s: %s", rule.name, report.error)
        return report

    async def close(self) -> None:
        """Call off what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._locks.close()

    def _ended(self, name: str, task: asyncio.Task[Report]) -> None:
        del self._running[name]
        if not task.cancelled() and task.exception() is not None:
            log.error("mirror %s failed", name, exc_info=task.exception())


def is_due(last: Report, rule: MirrorRule, now: float) -> bool:
    """Whether a mirror whose latest run is ``last`` should run; ``now`` in epoch seconds."""
    whole = last.ended >= last.started and not last.error
    return now - last.started >= (rule.interval if whole else min(rule.interval, AGAIN))


async def _copy(registry: Registry, rule: MirrorRule, report: Report) -> None:
    from registry.proxy.upstream import Upstream

    upstream = await registry.workers.io(partial(Upstream, rule))
    try:
        if rule.direction is Direction.PUSH:
            from registry.mirroring.pushing import PushRun

            await PushRun(registry, rule, upstream, report).run()
        else:
            await _pull(registry, rule, upstream, report)
    finally:
        await upstream.close()


async def _pull(registry: Registry, rule: MirrorRule, upstream: object, report: Report) -> None:
    from registry.gate.policies import load
    from registry.mirroring.judging import SignatureJudge
    from registry.mirroring.pulling import PullRun
    from registry.proxy.upstream import Upstream

    assert isinstance(upstream, Upstream)
    judge = None
    if rule.policy is not None:
        loaded = await registry.workers.io(partial(load, rule.policy))
        judge = SignatureJudge(loaded, upstream)
    await PullRun(registry, rule, upstream, report, judge).run()
