"""What a thread will answer to a coroutine: less than half the cost of a future of each world.

A blob of one MiB takes about ten turns through threads, and the futures of ``concurrent.futures``
with their locks and chained callbacks cost more than most of the turns themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final


class Promise:
    """An outcome that some thread brings; made, awaited and settled in the loop's thread."""

    __slots__ = ("_future", "_settled", "loop")

    def __init__(self) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self.loop.create_future()
        self._settled = False

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The outcome is known."""
        self._settled = True
        if self._future.done():
            return
        if error is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(error)

    async def outcome(self) -> Any:
        """The value, or the error raised.

        Whoever is cancelled waits nevertheless: the thread still uses what the caller would close.
        """
        try:
            return await self._future
        except asyncio.CancelledError:
            while not self._settled:
                self._future = self.loop.create_future()
                with suppress(asyncio.CancelledError, Exception):
                    await self._future
            raise


def deliver(
    loop: asyncio.AbstractEventLoop,
    outcomes: Iterable[tuple[Promise, Any, BaseException | None]],
) -> None:
    """Settle promises of ``loop`` from another thread, with one wake-up for all of them."""
    # A loop that is closed has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: Iterable[tuple[Promise, Any, BaseException | None]]) -> None:
    for promise, value, error in outcomes:
        promise.settle(value, error)
