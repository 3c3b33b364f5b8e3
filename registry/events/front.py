"""Webhooks as the registry sees them: begun, given other settings, ended; nothing without any.

Every process opens the queue and reads the files that webhooks name, so that a mistake is refused
at start and reload by all of them; the one that holds the office delivers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from records import Record
from registry.election import FileOffices, Offices, while_elected
from registry.errors import RegistryStartError
from registry.sql.errors import STORE_ERRORS

if TYPE_CHECKING:
    from registry.config import RegistryConfig
    from registry.events.courier import Courier
    from registry.events.follower import EventFollower
    from registry.events.pulls import Pulls
    from registry.events.queue import EventQueue
    from registry.index import SqlIndex
    from registry.sql.stores import Stores
    from registry.tracing.tracer import Tracer

log = logging.getLogger("registry.events")

_OFFICE: Final = "events"
_LOOK_SECONDS: Final = 1.0
_TROUBLE_SECONDS: Final = 30.0
_WILDCARDS: Final = ("", "0.0.0.0", "::")


class Prepared(Record):
    """Everything that the webhooks of one configuration need."""

    follower: EventFollower
    courier: Courier
    pulls: Pulls | None


class EventFront:
    """The events of one registry root. ``start`` and ``stop`` are called from the event loop."""

    def __init__(
        self,
        config: RegistryConfig,
        index: SqlIndex,
        tracer: Tracer | None = None,
        offices: Offices | None = None,
        stores: Stores | None = None,
    ) -> None:
        """Open the queue if there are webhooks; blocks. ``offices`` says who delivers.

        Raises:
            RegistryConfigError: a file of a webhook is no good.
            RegistryStartError: the queue cannot be opened, or a newer release wrote it.
        """
        self._index = index
        self._tracer = tracer
        self._root = config.root
        self._offices = offices or FileOffices(config.root)
        self._stores = stores
        self._queue: EventQueue | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._prepared = self.prepare(config)
        self.pulls: Pulls | None = None
        """Who is told of pulls, while anybody wants to know."""

    @property
    def follower(self) -> EventFollower | None:
        """Who takes the index's events for the webhooks; None without webhooks."""
        return None if self._prepared is None else self._prepared.follower

    def prepare(self, config: RegistryConfig) -> Prepared | None:
        """Read what the webhooks of ``config`` need, for ``start``; blocks, raises as above."""
        if not config.webhook:
            return None
        # Loaded by registries that have webhooks.
        from registry.events.courier import Courier
        from registry.events.follower import EventFollower, IndexEvents
        from registry.events.queue import FILE, EventQueue
        from registry.events.receiver import Credentials

        webhooks = [(webhook, Credentials.read(webhook)) for webhook in config.webhook]
        try:
            if self._queue is None:
                self._queue = EventQueue(self._root, self._stores)
            index = IndexEvents(self._index)
            follower = EventFollower(self._queue, index, config.webhook, source_of(config))
            follower.begin()
        except STORE_ERRORS as error:
            raise RegistryStartError(
                f"cannot begin to follow the index: {error}",
                where=str(self._root / FILE),
                fix="free the disk it is on, and try again",
            ) from error
        courier = Courier(follower, webhooks, tracer=self._tracer)
        return Prepared(follower, courier, _pulls_of(config, self._index))

    def start(self) -> None:
        """Deliver by the configuration that was opened."""
        self.restart(self._prepared)

    def restart(self, prepared: Prepared | None) -> None:
        """Deliver by what ``prepare`` returned; what is under way by other settings ends first."""
        before = tuple(self._tasks)
        self._prepared = prepared
        self.pulls = None if prepared is None else prepared.pulls
        self._begin(self._run(prepared, before))
        if self.pulls is not None:
            self._begin(self.pulls.run())

    async def stop(self) -> None:
        """Stop delivering; requests under way have a moment to end."""
        await _end(self._tasks)

    def close(self) -> None:
        """Release the queue; blocks."""
        if self._queue is not None:
            self._queue.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, prepared: Prepared | None, before: Collection[asyncio.Task[None]]) -> None:
        await _end(before)
        if prepared is None:
            return
        await while_elected(
            lambda: self._offices.stand_for(_OFFICE),
            partial(_deliver, prepared.courier),
            look_seconds=_LOOK_SECONDS,
        )


async def _deliver(courier: Courier) -> None:
    while True:
        try:
            await courier.run()
        except Exception:  # a bug must not end deliveries for good
            log.exception("deliveries broke off")
        await asyncio.sleep(_TROUBLE_SECONDS)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _pulls_of(config: RegistryConfig, index: SqlIndex) -> Pulls | None:
    """Who gathers pulls; None when no webhook asks for them."""
    from registry.events.follower import matcher_of
    from registry.events.pulls import Pulls
    from registry.events.settings import EventKind

    wanting = [webhook for webhook in config.webhook if EventKind.PULL in webhook.events]
    if not wanting:
        return None
    return Pulls(index, [matcher_of(webhook) for webhook in wanting], config.events.pull_interval)


def source_of(config: RegistryConfig) -> str:
    """The URL that names this registry in its events."""
    if config.events.source is not None:
        return config.events.source.rstrip("/")
    host = socket.gethostname() if config.host in _WILDCARDS else config.host
    host = f"[{host}]" if ":" in host else host
    return f"{config.scheme}://{host}:{config.port}"
