"""Ending well: which requests are under way, and waiting for them.

aiohttp drops the rest of a body once its own shutdown begins, so uploads under way would be lost;
they are waited for here first. While draining, every answer closes its connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Drain:
    """Counts requests under way; used from the event loop only."""

    def __init__(self) -> None:
        self.draining = False
        self._active = 0
        self._idle = asyncio.Event()

    def enter(self) -> None:
        """A request begins."""
        self._active += 1

    def leave(self) -> None:
        """A request is answered, or its client is gone."""
        self._active -= 1
        if self.draining and self._active == 0:
            self._idle.set()

    async def wait(self, seconds: float) -> int:
        """Begin to drain; returns how many requests are still under way after ``seconds``."""
        self.draining = True
        if self._active:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
        return self._active
