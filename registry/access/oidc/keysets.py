"""One issuer's keys, kept as fresh as they need to be.

All who wait for keys wait for the same request. An unknown ``kid`` asks again, but never more often
than every few seconds, however many tokens of unknown keys come. An issuer that is down loses
nothing at once: keys that were good lately stay good for a limited time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Final

from registry.access.jwt import TokenError
from registry.access.oidc.fetching import FetchError, read_keys
from registry.access.oidc.settings import IssuerSettings
from registry.access.oidc.verifiers import OutsideKey, OutsideVerifier, parse_jwks

log = logging.getLogger("registry")

_UNKNOWN_SECONDS: Final = 5.0
"""Least time between two requests because of keys that nobody knows, or after a failure."""

_FILE_SECONDS: Final = 1.0


class KeySet:
    """The keys of one issuer; used from one event loop only."""

    def __init__(
        self,
        settings: IssuerSettings,
        threads: Executor,
        *,
        monotonic: Callable[[], float],
        read: Callable[[IssuerSettings], bytes] = read_keys,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._monotonic = monotonic
        self._read = read
        self._keys: Mapping[str, OutsideKey] = {}
        self._good_at: float | None = None
        self._asked_at = float("-inf")
        self._failure = ""
        self._under_way: asyncio.Task[None] | None = None
        self._allowed = {algorithm.value for algorithm in settings.algorithms}
        self._refresh = settings.keys_refresh if settings.jwks_file is None else _FILE_SECONDS

    async def verifier(self, kid: str, algorithm: str) -> OutsideVerifier:
        """What verifies a token of this header.

        Raises:
            TokenError: no such key, another algorithm than it or we allow, or the issuer has not
                answered for too long.
        """
        if algorithm not in self._allowed:
            raise TokenError("signed in a way that is not allowed for its issuer")
        await self._fresh(kid)
        if self._good_at is None or self._monotonic() > self._good_at + self._settings.keys_stale:
            raise TokenError(f"its issuer's keys cannot be had: {self._failure}")
        key = self._keys.get(kid)
        if key is None:
            raise TokenError("signed with a key that its issuer does not have")
        if algorithm not in key.algorithms:
            raise TokenError("signed in another way than its key signs")
        return OutsideVerifier(key.public, algorithm)

    async def _fresh(self, kid: str) -> None:
        """Ask for the keys when they are old, or when this one is not among them."""
        if self._under_way is None:
            since = self._monotonic() - self._asked_at
            patience = (
                self._refresh if kid in self._keys and not self._failure else _UNKNOWN_SECONDS
            )
            if since < min(patience, self._refresh):
                return
            self._under_way = asyncio.create_task(self._ask())
        if kid in self._keys and self._failure:
            return  # it did not answer lately: who has a known key need not wait for another try
        # One who goes away must not take the request from those who wait with it.
        await asyncio.shield(self._under_way)

    async def _ask(self) -> None:
        self._asked_at = self._monotonic()
        try:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._threads, partial(self._read, self._settings))
            self._keys = parse_jwks(data)
        except (FetchError, ValueError) as error:
            self._failure = str(error) if isinstance(error, FetchError) else f"its keys: {error}"
            log.warning("issuer %s: %s", self._settings.name, self._failure)
        else:
            self._good_at = self._asked_at
            self._failure = ""
        finally:
            self._under_way = None
