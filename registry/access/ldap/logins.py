"""Logins by directories: asked once for all who wait, remembered for seconds, never guessed freely.

Wrong passwords count for the same delays as those of our own users. A directory that does not
answer is said to be the reason: nobody takes it for a wrong password.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from registry.access.identity import Identity, Kind
from registry.access.jwt import TokenError
from registry.access.ldap.directory import Directory, DirectoryError, Person
from registry.access.throttle import GuessDelay, retry_after
from registry.errors import ApiError

_REMEMBERED: Final = 4096
_WAITING: Final = 64


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a directory said, and until when it counts on the monotonic clock."""

    person: Person | None
    until: float


class Directories:
    """All configured directories; used from one event loop only."""

    def __init__(
        self,
        directories: Sequence[Directory],
        threads: Executor,
        delay: GuessDelay,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._directories = {one.settings.name: one for one in directories}
        self._threads = threads
        self._delay = delay
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[_Answer]] = {}

    def __len__(self) -> int:
        return len(self._directories)

    def __contains__(self, source: str) -> bool:
        return source in self._directories

    def looks_again(self, source: str) -> bool:
        """Whether a directory can be asked about somebody without the password."""
        return self._directories[source].settings.bind_dn is not None

    async def login(self, user: str, secret: bytes, *, address: str) -> Identity | None:
        """Who this is by the first directory that says so; None when none does.

        Raises:
            ApiError: TOOMANYREQUESTS after wrong passwords, or UNAVAILABLE: a directory was silent
                and no other one knew the password.
        """
        silent = ""
        for name, directory in self._directories.items():
            try:
                person = await self._authenticated(directory, user, secret, address)
            except DirectoryError as error:
                silent = f"the directory {name} cannot tell: {error}"
                continue
            if person is not None:
                return _identity(name, person)
        if silent:
            raise ApiError("UNAVAILABLE", message=silent, headers=retry_after(5))
        return None

    async def current(self, identity: Identity) -> tuple[Identity, float]:
        """The same person as the directory has it now, and for how many seconds that counts.

        Raises:
            TokenError: there is nobody of that name who may log in, or the directory is silent.
        """
        directory = self._directories[identity.source]
        key = (identity.name,)
        try:
            answer = await self._asked(key, directory, partial(directory.find, identity.own_name))
        except DirectoryError as error:
            raise TokenError(f"the directory {identity.source} cannot tell: {error}") from error
        if answer.person is None:
            raise TokenError(f"the directory {identity.source} has nobody of that name any more")
        return _identity(identity.source, answer.person), directory.settings.cache

    async def _authenticated(
        self, directory: Directory, user: str, secret: bytes, address: str
    ) -> Person | None:
        key = self._name(directory.settings.name, user, secret)
        known = self._answers.get(key)
        if (known is None or known.until <= self._monotonic()) and key not in self._under_way:
            wait = self._delay.wait(user, address)
            if wait > 0:
                raise ApiError(
                    "TOOMANYREQUESTS",
                    message="too many wrong passwords; wait before the next",
                    headers=retry_after(wait),
                )
            # Counted before it is known, so that many at once are no way around the delay.
            self._delay.begun(user, address)
        try:
            password = secret.decode("utf-8")
        except UnicodeDecodeError:
            return None
        answer = await self._asked(key, directory, partial(directory.authenticate, user, password))
        if answer.person is not None:
            self._delay.succeeded(user, address)
        return answer.person

    async def _asked(
        self, key: Hashable, directory: Directory, ask: Callable[[], Person | None]
    ) -> _Answer:
        """What the directory says, asked by one for all."""
        known = self._answers.get(key)
        if known is not None and known.until > self._monotonic():
            return known
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= _WAITING:
                raise ApiError(
                    "TOOMANYREQUESTS", message="too many logins at once", headers=retry_after(1)
                )
            task = asyncio.create_task(self._ask(key, directory, ask))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(
        self, key: Hashable, directory: Directory, ask: Callable[[], Person | None]
    ) -> _Answer:
        began = self._monotonic()
        call: Awaitable[Person | None] = asyncio.get_running_loop().run_in_executor(
            self._threads, ask
        )
        answer = _Answer(await call, began + directory.settings.cache)
        self._answers[key] = answer
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    def _name(self, source: str, user: str, secret: bytes) -> bytes:
        name = f"{source}\0{user}\0".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, name + secret, "sha256")


def _identity(source: str, person: Person) -> Identity:
    groups = tuple(f"{source}/{group}" for group in person.groups)
    return Identity(Kind.OUTSIDE, f"{source}/{person.name}", groups)
