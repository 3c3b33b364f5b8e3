"""When to try again: which failures, after how long, and what the server asked for.

RFC 9110, section 10.2.3 (Retry-After); exponential backoff with jitter.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from images.client.threads import pause
from records import Record

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may pass by themselves."""


def chance() -> float:
    """At least 0 and less than 1."""
    import random

    return random.random()


class Effects(Record):
    """Time and chance, as parameters: ``jitter`` is in [0, 1), clocks and ``sleep`` in seconds."""

    sleep: Callable[[float], Awaitable[None]] = pause
    jitter: Callable[[], float] = chance
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class RetryPolicy(Record):
    """How often and how patiently; times are in seconds."""

    attempts: int = 5
    first: float = 0.25
    ceiling: float = 20.0
    patience: float = 120.0

    def delay(self, attempt: int, jitter: float) -> float:
        """Seconds before attempt number ``attempt + 1``: doubled each time, half of it random."""
        whole: float = min(self.ceiling, self.first * 2 ** (attempt - 1))
        return whole * (0.5 + jitter / 2)

    def wait(self, attempt: int, jitter: float, asked: float | None) -> float | None:
        """The pause after a failed attempt, or None when it is time to give up.

        ``asked`` is the server's Retry-After; longer than our patience means giving up at once.
        """
        if attempt >= self.attempts or (asked is not None and asked > self.patience):
            return None
        return max(self.delay(attempt, jitter), asked or 0.0)


def retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header against the wall clock ``now``; nonsense counts as absent."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None
