"""Patience that runs out: wrong passwords make the next try wait, and requests have a rate.

What makes wait is the pair of account and address, so nobody can lock another out from elsewhere;
an address that tries many accounts waits as well. All of it is bounded in memory and belongs to one
process: with several, each counts for itself.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from registry.access.settings import RateSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_KEPT: Final = 16384
_FREE_TRIES: Final = 5
_FREE_TRIES_OF_ADDRESS: Final = 50
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_LONGEST_DELAY_OF_ADDRESS: Final = 5.0
_FORGIVEN: Final = 60.0
"""Seconds after which one wrong password counts no more."""

_ALL: Final = ""
"""Stands for every account."""


class _Recent(Generic[K, V]):
    """The most recently used entries of a dictionary without end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def pop(self, key: K) -> None:
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


class GuessDelay:
    """Wrong passwords by account and address; used from the event loop only."""

    def __init__(self, *, clock: Callable[[], float], limit: int = _KEPT) -> None:
        self._clock = clock
        self._failures: _Recent[tuple[str, str], tuple[float, float]] = _Recent(limit)

    def wait(self, account: str, address: str) -> float:
        """Seconds until the next try may be made; 0 for now."""
        address = network_of(address)
        return max(
            self._wait((account, address), _FREE_TRIES, _LONGEST_DELAY),
            self._wait((_ALL, address), _FREE_TRIES_OF_ADDRESS, _LONGEST_DELAY_OF_ADDRESS),
        )

    def begun(self, account: str, address: str) -> None:
        """A try is made; it counts as wrong until it ``succeeded``."""
        address = network_of(address)
        now = self._clock()
        for key in ((account, address), (_ALL, address)):
            count, last = self._failures.get(key) or (0.0, now)
            self._failures.put(key, (max(0.0, count - (now - last) / _FORGIVEN) + 1.0, now))

    def succeeded(self, account: str, address: str) -> None:
        """The try was right: this account has no failures here, and the address one less."""
        address = network_of(address)
        self._failures.pop((account, address))
        count, last = self._failures.get((_ALL, address)) or (0.0, 0.0)
        self._failures.put((_ALL, address), (max(0.0, count - 1.0), last))

    def _wait(self, key: tuple[str, str], free: int, longest: float) -> float:
        count, last = self._failures.get(key) or (0.0, 0.0)
        if count < free:
            return 0.0
        delay = min(_FIRST_DELAY * 2.0 ** min(int(count) - free, 16), longest)
        return max(0.0, last + delay - self._clock())


class TokenBucket(Generic[K]):
    """``rate`` requests a second for each key, ``burst`` at once; event loop only."""

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float], limit: int = _KEPT
    ) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._levels: _Recent[K, tuple[float, float]] = _Recent(limit)

    def take(self, key: K) -> float:
        """Take one; returns 0, or the seconds after which there is one again."""
        now = self._clock()
        level, then = self._levels.get(key) or (self._burst, now)
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1.0:
            self._levels.put(key, (level, now))
            return (1.0 - level) / self._rate
        self._levels.put(key, (level - 1.0, now))
        return 0.0


class RateLimits:
    """The limits of one configuration; none costs nothing."""

    def __init__(self, settings: RateSettings, *, clock: Callable[[], float]) -> None:
        def bucket(rate: float | None) -> TokenBucket[str] | None:
            if rate is None:
                return None
            return TokenBucket(rate, rate * settings.burst, clock=clock)

        self._user = bucket(settings.user)
        self._address = bucket(settings.address)
        self._anonymous = bucket(settings.anonymous)
        self.by_address = self._address is not None
        self.by_identity = self._user is not None or self._anonymous is not None

    def of_address(self, address: str) -> float:
        """Count a request of this address; see ``TokenBucket.take``."""
        return 0.0 if self._address is None else self._address.take(network_of(address))

    def of_user(self, identity: str) -> float:
        """Count a request of this user or robot."""
        return 0.0 if self._user is None else self._user.take(identity)

    def of_anonymous(self, address: str) -> float:
        """Count a request without credentials."""
        return 0.0 if self._anonymous is None else self._anonymous.take(network_of(address))


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come again (RFC 9110, section 10.2.3)."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 host can roam in."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
