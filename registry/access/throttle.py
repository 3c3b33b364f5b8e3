"""Patience that runs out: wrong passwords make the next try wait, and requests have a rate.

What makes wait is the pair of account and address, so nobody can lock another out from elsewhere;
an address that tries many accounts waits as well. All of it is bounded in memory, and counted by
all workers together.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final

from registry.access.settings import RateSettings
from registry.access.shared import SharedPairs

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


class Patience:
    """What is remembered of those who try; workers that were forked since share it."""

    def __init__(self, *, limit: int = _KEPT) -> None:
        """``limit`` is how many keys each table knows."""
        self.failures = SharedPairs(limit)
        self.users = SharedPairs(limit)
        self.addresses = SharedPairs(limit)
        self.anonymous = SharedPairs(limit)


class GuessDelay:
    """Wrong passwords by account and address; used from the event loop only."""

    def __init__(self, failures: SharedPairs, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = failures

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
            count, last = self._failures.get(*key) or (0.0, now)
            self._failures.put(max(0.0, count - (now - last) / _FORGIVEN) + 1.0, now, *key)

    def succeeded(self, account: str, address: str) -> None:
        """The try was right: this account has no failures here, and the address one less."""
        address = network_of(address)
        self._failures.pop(account, address)
        count, last = self._failures.get(_ALL, address) or (0.0, 0.0)
        self._failures.put(max(0.0, count - 1.0), last, _ALL, address)

    def _wait(self, key: tuple[str, str], free: int, longest: float) -> float:
        count, last = self._failures.get(*key) or (0.0, 0.0)
        if count < free:
            return 0.0
        delay = min(_FIRST_DELAY * 2.0 ** min(int(count) - free, 16), longest)
        return max(0.0, last + delay - self._clock())


class TokenBucket:
    """``rate`` requests a second for each key, ``burst`` at once; event loop only."""

    def __init__(
        self, levels: SharedPairs, rate: float, burst: float, *, clock: Callable[[], float]
    ) -> None:
        self._levels = levels
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock

    def take(self, key: str) -> float:
        """Take one; returns 0, or the seconds after which there is one again."""
        now = self._clock()
        level, then = self._levels.get(key) or (self._burst, now)
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1.0:
            self._levels.put(level, now, key)
            return (1.0 - level) / self._rate
        self._levels.put(level - 1.0, now, key)
        return 0.0


class RateLimits:
    """The limits of one configuration; none costs nothing."""

    def __init__(
        self, settings: RateSettings, patience: Patience, *, clock: Callable[[], float]
    ) -> None:
        def bucket(levels: SharedPairs, rate: float | None) -> TokenBucket | None:
            if rate is None:
                return None
            return TokenBucket(levels, rate, rate * settings.burst, clock=clock)

        self._user = bucket(patience.users, settings.user)
        self._address = bucket(patience.addresses, settings.address)
        self._anonymous = bucket(patience.anonymous, settings.anonymous)
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
