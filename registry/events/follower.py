"""From the outbox into the queue: which events go to which webhook.

Several processes may do it at the same time; the queue takes each batch once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.events.cloudevents import KINDS, envelope
from registry.events.queue import EventQueue
from registry.events.records import NewDelivery
from registry.events.settings import WebhookSettings
from registry.index import SqlIndex
from registry.outbox import Event, read_events
from registry.records import ManifestRow
from registry.rules import Matcher, repository_matcher


class Source(Protocol):
    """The index, as far as events come from it."""

    def events(self, after: int) -> list[Event]:
        """The next events after the one of that number, oldest first."""
        ...

    def newest(self) -> int:
        """The number of the newest event there ever was; 0 before the first one."""
        ...

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        """The manifest of this digest, if it is still there."""
        ...


@dataclass(frozen=True, slots=True)
class EventFollower:
    """Follows one index for some webhooks. Methods block."""

    queue: EventQueue
    index: Source
    webhooks: Sequence[WebhookSettings]
    source: str
    clock: Callable[[], float] = time.time

    def begin(self) -> None:
        """Note where the first events come from, before any of them is written."""
        self.queue.begin(self.index.newest())

    @property
    def position(self) -> int:
        """The last event that is in the queue; 0 for an index that was made anew since."""
        taken = self.queue.position() or 0
        return taken if taken <= self.index.newest() else 0

    def catch_up(self) -> int:
        """Queue what happened since; returns how many deliveries that makes."""
        if self.index.newest() < (self.queue.position() or 0):
            # ``rebuild-index`` and ``restore`` make an index whose events count from 1 again.
            self.queue.rewind()
        queued = 0
        limits = {webhook.name: webhook.limit for webhook in self.webhooks}
        matchers = {webhook.name: matcher_of(webhook) for webhook in self.webhooks}
        while events := self.index.events(after := self.position):
            deliveries = [made for event in events for made in self._deliveries(event, matchers)]
            position = events[-1].id
            done = self.queue.append(
                deliveries, after=after, position=position, now=self.clock(), limits=limits
            )
            queued += len(deliveries) if done else 0
        return queued

    def _deliveries(self, event: Event, matchers: Mapping[str, Matcher]) -> list[NewDelivery]:
        wanting = [
            webhook.name
            for webhook in self.webhooks
            if KINDS[event.change] in webhook.events and matchers[webhook.name](event.repository)
        ]
        if not wanting:
            return []
        digest = event.digest
        manifest = self.index.manifest(event.repository, digest) if digest else None
        made = envelope(event, self.source, manifest)
        return [NewDelivery(name, event.repository, made.id, made.body) for name in wanting]


@dataclass(frozen=True, slots=True)
class IndexEvents:
    """The events of an index in SQLite, for one thread at a time."""

    index: SqlIndex

    def events(self, after: int) -> list[Event]:
        """See ``Source``."""
        return read_events(self.index.reader(), after=after)

    def newest(self) -> int:
        """See ``Source``."""
        return self.index.newest_event()

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        """See ``Source``."""
        return self.index.manifest(repository, digest)


def matcher_of(webhook: WebhookSettings) -> Matcher:
    """Which repositories a webhook wants to hear of."""
    matchers = [repository_matcher(pattern) for pattern in webhook.repositories]
    return lambda name: any(matches(name) for matches in matchers)
