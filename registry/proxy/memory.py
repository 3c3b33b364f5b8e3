"""What a process remembers of upstreams: what it checked lately, sizes, and who fails just now.

All of it may be forgotten at any time; it costs the upstream a request. Used from the event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from images.errors import ImagesError
from registry.proxy.faults import PASSING

V = TypeVar("V")

_REMEMBERED: Final = 16384
PAUSE: Final = 5.0
"""Seconds for which an upstream that fails is left alone."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[V]):
    """A value that holds until that moment of the monotonic clock."""

    value: V
    until: float


class Memory(Generic[V]):
    """Values by name, each for a while; the oldest are forgotten first."""

    def __init__(self, clock: Callable[[], float], *, limit: int = _REMEMBERED) -> None:
        self._clock = clock
        self._limit = limit
        self._kept: OrderedDict[str, Kept[V]] = OrderedDict()

    def get(self, key: str) -> V | None:
        """The value, while it holds."""
        kept = self._kept.get(key)
        return None if kept is None or kept.until <= self._clock() else kept.value

    def last(self, key: str) -> V | None:
        """The value, even when it holds no more."""
        kept = self._kept.get(key)
        return None if kept is None else kept.value

    def put(self, key: str, value: V, seconds: float) -> None:
        """Remember ``value`` for so long."""
        self._kept[key] = Kept(value, self._clock() + seconds)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget it."""
        self._kept.pop(key, None)


class Health:
    """Whether an upstream is worth a request: after a fault of the whole it is left alone."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._fault: ImagesError | None = None
        self._until = 0.0

    def check(self) -> None:
        """Raises the fault of a moment ago, if there was one."""
        if self._fault is not None and self._clock() < self._until:
            raise self._fault.with_traceback(None)

    def repeats(self, error: ImagesError) -> bool:
        """Whether ``check`` raised it, so that it is no news."""
        return error is self._fault

    def note(self, error: ImagesError) -> None:
        """Something went wrong with a request."""
        if isinstance(error, PASSING):
            self._fault, self._until = error, self._clock() + PAUSE
