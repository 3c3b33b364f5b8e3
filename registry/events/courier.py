"""Takes events from the queue to the receivers; one process of all that serve a folder does.

Each webhook has a loop of its own and at most ``parallel`` requests under way, one for each
repository, so a slow or dead receiver delays nobody but itself, and in memory is only what is under
way. Everything else is on disk: a courier may end at any point, and the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from images.errors import ImagesError
from registry.events.backoff import jittered
from registry.events.follower import EventFollower
from registry.events.queue import EventQueue
from registry.events.receiver import Credentials, Receiver, Verdict
from registry.events.records import Delivery
from registry.events.settings import WebhookSettings

if TYPE_CHECKING:
    from registry.tracing.tracer import Tracer

log = logging.getLogger("registry.events")

T = TypeVar("T")

LOOK_SECONDS: Final = 0.5
"""How often the outbox, and what commands did to the queue, are looked at."""

_TROUBLE_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 3.0
"""How long requests under way have when the courier ends."""


class Courier:
    """Delivers for ``webhooks`` while ``run`` runs.

    ``backoff`` says how many seconds to wait after so many attempts failed.
    """

    def __init__(
        self,
        follower: EventFollower,
        webhooks: Sequence[tuple[WebhookSettings, Credentials]],
        *,
        clock: Callable[[], float] = time.time,
        backoff: Callable[[int], float] = jittered,
        tracer: Tracer | None = None,
    ) -> None:
        self._follower = follower
        self._webhooks = webhooks
        self._clock = clock
        self._backoff = backoff
        self._tracer = tracer

    async def run(self) -> None:
        """Deliver until cancelled; requests under way then have a moment to end."""
        # One thread: the queue has one connection, and the index one for each thread.
        thread = ThreadPoolExecutor(1, "registry-events")
        disk = _Disk(thread)
        try:
            await _patiently(partial(disk.run, self._follower.queue.revive))
            rounds = [
                _Round(
                    settings,
                    partial(Receiver, settings, credentials, self._tracer),
                    self._follower.queue,
                    disk,
                    self._clock,
                    self._backoff,
                )
                for settings, credentials in self._webhooks
            ]
            async with asyncio.TaskGroup() as group:
                for one in rounds:
                    group.create_task(one.run())
                group.create_task(self._look(rounds, disk))
        finally:
            # What it runs uses files that are closed after this.
            await asyncio.to_thread(thread.shutdown)

    async def _look(self, rounds: Sequence[_Round], disk: _Disk) -> None:
        seen = -1
        while True:
            queued = await _patiently(partial(disk.run, self._follower.catch_up))
            changes = await _patiently(partial(disk.run, self._follower.queue.changes))
            if queued or changes != seen:
                seen = changes
                for one in rounds:
                    one.wake()
            await asyncio.sleep(LOOK_SECONDS)


class _Disk:
    """Runs what touches the disk in the courier's thread."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    async def run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class _Round:
    """The loop of one webhook."""

    def __init__(
        self,
        settings: WebhookSettings,
        receiver: Callable[[], Receiver],
        queue: EventQueue,
        disk: _Disk,
        clock: Callable[[], float],
        backoff: Callable[[int], float],
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._queue = queue
        self._disk = disk
        self._clock = clock
        self._backoff = backoff
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._paused = 0.0
        self._gone = False

    def wake(self) -> None:
        """There may be something new."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        receiver = self._receiver()
        try:
            while not self._gone:
                self._woken.clear()
                for delivery in await _patiently(self._due):
                    task = asyncio.create_task(self._deliver(receiver, delivery))
                    self._busy[delivery.repository] = task
                    task.add_done_callback(partial(self._done, delivery.repository))
                wait = await _patiently(self._wait)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait)
        finally:
            await self._end()
            await receiver.close()

    async def _due(self) -> list[Delivery]:
        now = self._clock()
        free = self._settings.parallel - len(self._busy)
        if free <= 0 or now < self._paused:
            return []
        name, busy = self._settings.name, set(self._busy)
        return await self._disk.run(partial(self._queue.due, name, now=now, busy=busy, limit=free))

    async def _wait(self) -> float | None:
        """How long nothing will be due; None until something wakes us."""
        if len(self._busy) >= self._settings.parallel:
            return None
        name, busy = self._settings.name, set(self._busy)
        due = await self._disk.run(partial(self._queue.next_due, name, busy=busy))
        if due is None:
            return None
        return max(0.0, max(due, self._paused) - self._clock())

    def _done(self, repository: str, task: asyncio.Task[None]) -> None:
        del self._busy[repository]
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook %s: an attempt broke off", self._settings.name, exc_info=error)
            self._paused = self._clock() + _TROUBLE_SECONDS

    async def _deliver(self, receiver: Receiver, delivery: Delivery) -> None:
        outcome = await receiver.send(delivery.event, delivery.body, now=self._clock())
        now = self._clock()
        if outcome.verdict is Verdict.DELIVERED:
            record: Callable[[], None] = partial(self._queue.delivered, delivery, now=now)
        elif outcome.verdict is Verdict.GONE:
            self._gone = True
            log.warning(
                "webhook %s: %s answers 410; nothing more is sent before a reload",
                self._settings.name,
                self._settings.address,
            )
            record = partial(
                self._queue.set_gone, self._settings.name, now=now, error=outcome.error
            )
        else:
            self._paused = max(self._paused, now + outcome.wait)
            record = self._failure(delivery, outcome.error, now)
        await _patiently(partial(self._disk.run, record))

    def _failure(self, delivery: Delivery, error: str, now: float) -> Callable[[], None]:
        attempts = delivery.attempts + 1
        settings = self._settings
        if attempts >= settings.attempts or now - delivery.since >= settings.expiry:
            log.warning(
                "webhook %s: event %d of %s is dead after %d attempts: %s",
                settings.name,
                delivery.number,
                delivery.repository,
                attempts,
                error,
            )
            return partial(self._queue.bury, delivery, error, now=now)
        due = max(now + self._backoff(attempts), self._paused)
        return partial(self._queue.failed, delivery, error, due=due)

    async def _end(self) -> None:
        tasks = list(self._busy.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Do something with the disk, again and again while the disk refuses."""
    while True:
        try:
            return await call()
        except (OSError, sqlite3.Error, ImagesError) as error:
            log.warning("events wait: %s", error)
        await asyncio.sleep(_TROUBLE_SECONDS)
