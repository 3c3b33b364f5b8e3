"""Pulls as events, for receivers that ask for them: gathered in memory, written now and then.

A pull is a GET of a manifest that sent it. The first of an image by somebody is an event within
seconds; the same again is none for ``interval``. Each process remembers ``MOST`` of them; what
comes beyond is not told until others are over. So a registry that is pulled from a thousand times a
second writes a few rows, and a request only looks into a dict. A process that is killed takes what
it had not written yet with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from registry.database import NO_REPOSITORY
from registry.index import SqlIndex
from registry.rules import Matcher

log = logging.getLogger("registry.events")

MOST: Final = 10_000
"""Images that are remembered, and so pulls of different images in an interval."""

_WRITE_SECONDS: Final = 2.0
_REPORT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pull:
    """What was pulled: ``tag`` is "" for a pull by digest, ``actor`` for nobody in particular."""

    repository: str
    tag: str
    digest: str
    actor: str


class Pulls:
    """The pulls of one process. ``note`` is called from the event loop."""

    def __init__(
        self,
        index: SqlIndex,
        wanted: Iterable[Matcher],
        interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._wanted = tuple(wanted)
        self._interval = interval
        self._clock = clock
        self._told: dict[Pull, float] = {}
        self._waiting: list[Pull] = []
        self.dropped = 0
        """Pulls that were not told because there were too many different ones."""

    def note(self, repository: str, tag: str, digest: str, actor: str) -> None:
        """Somebody pulled."""
        pull = Pull(repository, tag, digest, actor)
        if pull in self._told or not any(wants(pull.repository) for wants in self._wanted):
            return
        if len(self._told) >= MOST:
            self.dropped += 1
            return
        self._told[pull] = self._clock() + self._interval
        self._waiting.append(pull)

    async def run(self) -> None:
        """Write what was noted, again and again, until cancelled; what is left then is written."""
        reported = self._clock()
        try:
            while True:
                await asyncio.sleep(_WRITE_SECONDS)
                await self.write()
                if self.dropped and self._clock() - reported >= _REPORT_SECONDS:
                    log.warning("%d pulls were not told: too many different ones", self.dropped)
                    self.dropped, reported = 0, self._clock()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what waits into the outbox, and forget what may be told again."""
        pulls, self._waiting = self._waiting, []
        if pulls:
            note = partial(self._index.note_pulls, pulls)
            write = partial(self._index.write, NO_REPOSITORY, note, durable=False)
            try:
                await asyncio.shield(asyncio.to_thread(write))
            except Exception as error:  # noqa: BLE001 -- pulls are told as far as that goes
                log.warning("%d pulls were not told: %s", len(pulls), error)
        now = self._clock()
        # In the order they were told, so the first that is still young ends the search.
        while self._told and (first := next(iter(self._told))) and self._told[first] <= now:
            del self._told[first]
