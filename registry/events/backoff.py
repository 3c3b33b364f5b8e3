"""When to try again: exponential with jitter, and not before a receiver that names a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 3600.0
LONGEST_PAUSE: Final = 86400.0
"""How long a receiver may have us wait with ``Retry-After``."""


def delay(attempts: int, chance: Callable[[], float]) -> float:
    """Seconds after the failure of attempt number ``attempts`` (from 1); ``chance`` gives [0, 1).

    Doubles up to an hour; a random half of it is taken off, so that what failed together does not
    come back together.
    """
    # The exponent is bounded, for a float has an end.
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts - 1, 32))
    return longest * (1 - chance() / 2)


def jittered(attempts: int) -> float:
    """``delay`` by the chance of this process."""
    return delay(attempts, random.random)


def retry_after(value: str | None, now: float) -> float:
    """Seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3); 0 for none or nonsense."""
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_PAUSE)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - now), LONGEST_PAUSE)
