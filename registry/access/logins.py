"""Passwords and robots' secrets, checked against a snapshot: slowly once, then from memory.

bcrypt takes a good part of a second by design, so a verified password is remembered for a few
minutes under a keyed hash, and never longer than the user's entry stays the same. Unknown users
cost the same time as wrong passwords, wrong passwords make the next try wait, and no more than a
few checks run at once however many ask. The same wrong password again is refused from memory: a
machine with an old password guesses nothing and makes nobody wait.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from registry.access.identity import Identity, Kind
from registry.access.passwords import matches
from registry.access.refresh import Login
from registry.access.robots import SECRET_PREFIX
from registry.access.snapshot import Snapshot
from registry.access.throttle import GuessDelay, Patience, retry_after
from registry.errors import ApiError
from registry.workers import Workers

V = TypeVar("V")

_REMEMBERED: Final = 1024
_REMEMBER_SECONDS: Final = 300.0
_WRONG_SECONDS: Final = 60.0
_AT_ONCE: Final = 2
_WAITING: Final = 64

_NOBODYS: Final = b"$2b$10$dzrBnCrYLwnNuvCCvGQZ5.LAZNpEwHXwSqpFWV5NW5ZJ2O4hZk0bu"
"""The hash of a password that was thrown away: what unknown users are compared with."""


class Logins:
    """Who proved what lately; used from the event loop only."""

    def __init__(
        self, workers: Workers, patience: Patience, *, monotonic: Callable[[], float]
    ) -> None:
        self._workers = workers
        self._monotonic = monotonic
        self._delay = GuessDelay(patience.failures, clock=monotonic)
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[Login, float]] = OrderedDict()
        self._wrong: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def check(
        self, snapshot: Snapshot, user: str, secret: bytes, *, address: str, now: float
    ) -> Login | None:
        """Who this is; None when user and secret do not fit.

        Raises:
            ApiError: TOOMANYREQUESTS, too many wrong ones from this address or too many at once.
        """
        kind = Kind.ROBOT if secret.startswith(SECRET_PREFIX) else Kind.USER
        identity = Identity(kind, user)
        credential = snapshot.credential(identity, now)
        key = self._name(user, secret)
        known = self._remembered.get(key)
        if known is not None and known[1] > self._monotonic() and known[0].credential == credential:
            return known[0]
        wrong = self._wrong.get(key)
        if wrong is not None and wrong[1] > self._monotonic() and wrong[0] == credential:
            return None
        wait = self._delay.wait(user, address)
        if wait > 0 and key not in self._under_way:
            raise ApiError(
                "TOOMANYREQUESTS",
                message="too many wrong passwords; wait before the next",
                headers=retry_after(wait),
            )
        if not await self._proves(snapshot, identity, secret, key, address) or credential is None:
            _keep(self._wrong, key, (credential, self._monotonic() + _WRONG_SECONDS))
            return None
        login = Login(identity, credential)
        _keep(self._remembered, key, (login, self._monotonic() + _REMEMBER_SECONDS))
        return login

    async def _proves(
        self, snapshot: Snapshot, identity: Identity, secret: bytes, key: bytes, address: str
    ) -> bool:
        """Check once for all who ask the same at the same time."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= _WAITING:
                raise ApiError(
                    "TOOMANYREQUESTS", message="too many logins at once", headers=retry_after(1)
                )
            # Counted before it is known, so that many at once are no way around the delay.
            self._delay.begun(identity.name, address)
            task = asyncio.create_task(self._compare(snapshot, identity, secret))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        good = await asyncio.shield(task)
        if good:
            self._delay.succeeded(identity.name, address)
        return good

    async def _compare(self, snapshot: Snapshot, identity: Identity, secret: bytes) -> bool:
        if identity.kind is Kind.ROBOT:
            robot = snapshot.robots.get(identity.name)
            return robot is not None and robot.proves(secret)
        stored = snapshot.users.get(identity.name)
        compared = stored or next(iter(snapshot.users.values()), _NOBODYS)
        async with self._slots:
            fits = await self._workers.io(partial(matches, secret, compared))
        return fits and stored is not None

    def _name(self, user: str, secret: bytes) -> bytes:
        name = user.encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, len(name).to_bytes(4, "big") + name + secret, "sha256")


def _keep(entries: OrderedDict[bytes, V], key: bytes, value: V) -> None:
    entries[key] = value
    if len(entries) > _REMEMBERED:
        entries.popitem(last=False)
