"""Waiting for what happens elsewhere: for the condition itself, never for a number of seconds.

How long is allowed is for a machine that stands still at times; what a test asserts about time, it
measures itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 90.0


def eventually(condition: Callable[[], object], seconds: float = _SECONDS) -> None:
    """Return once ``condition`` holds; fails when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


async def eventually_async(condition: Callable[[], object], seconds: float = _SECONDS) -> None:
    """As ``eventually``, and the event loop runs on meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)
