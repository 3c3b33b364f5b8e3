"""Couriers in a thread of a test: a list stands for the outbox, everything else is real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.events.courier import Courier
from registry.events.follower import EventFollower
from registry.events.queue import EventQueue
from registry.events.receiver import Credentials
from registry.events.records import Standing
from registry.events.settings import WebhookSettings
from registry.outbox import Change, Event
from registry.records import ManifestRow
from tests.registry.events.receiving import Inbox

DIGEST = "sha256:" + "1" * 64


@dataclass
class FakeIndex:
    """The events of an index."""

    told: list[Event] = field(default_factory=list)

    def say(self, repository: str, tag: str, change: Change = Change.TAG) -> Event:
        number = len(self.told) + 1
        event = Event(number, change, repository, DIGEST, tag, "", "", "user:ada", 1000 + number)
        self.told.append(event)
        return event

    def events(self, after: int) -> list[Event]:
        return self.told[after : after + 3]

    def newest(self) -> int:
        return len(self.told)

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        return ManifestRow(digest, "application/json", 2, 0)


@dataclass
class Post:
    """A queue with its outbox."""

    queue: EventQueue
    index: FakeIndex

    def follower(self, *webhooks: WebhookSettings) -> EventFollower:
        return EventFollower(self.queue, self.index, webhooks, "https://r.example.com")

    @contextmanager
    def courier(
        self, *webhooks: WebhookSettings, backoff: Callable[[int], float] = lambda _: 0.01
    ) -> Iterator[None]:
        """Deliver, in a loop of another thread, while the block runs."""
        credentials = [(webhook, Credentials.read(webhook)) for webhook in webhooks]
        courier = Courier(self.follower(*webhooks), credentials, backoff=backoff)
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = loop.create_task(courier.run())
            thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([task]),))
            thread.start()
            try:
                yield
            finally:
                loop.call_soon_threadsafe(task.cancel)
                thread.join()
        assert task.cancelled(), task

    def standing(self, name: str = "hook") -> Standing:
        found = {it.name: it for it in self.queue.standings()}
        return found.get(name, Standing(name, 0, 0, None))


@contextmanager
def post(root: Path) -> Iterator[Post]:
    """A queue in ``root`` that begins at the first event."""
    queue = EventQueue(root)
    queue.begin(0)
    try:
        yield Post(queue, FakeIndex())
    finally:
        queue.close()


def webhook(inbox: Inbox, name: str = "hook", **more: Any) -> WebhookSettings:
    return WebhookSettings(name, inbox.url, **more)
