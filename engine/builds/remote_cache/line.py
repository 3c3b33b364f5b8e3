"""One registry client for all threads of a build, each of which waits for its own answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from engine.registries import Caller
from images.client.scope import Cancelled, Scope
from images.futures import CancelledError

if TYPE_CHECKING:
    from builder.remote.index import CacheIndex
    from engine.access import Access
    from images.client import RegistryClient
    from images.digest import Digest

_T = TypeVar("_T")
FRESH: Final = 60.0
"""Seconds for which a registry is taken to have what it had; what nobody names may be collected."""


class Line:
    """The way to registries; ``close`` ends what is still under way."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._lock = threading.Lock()
        self._scope = Scope()
        self._caller: Caller | None = None
        self._turns: dict[tuple[str, Digest], threading.Lock] = {}
        self._holders: dict[tuple[str, Digest], str] = {}
        self._seen: dict[tuple[str, str, Digest], float] = {}
        self.indexes: dict[tuple[str, Digest], CacheIndex] = {}
        """Caches that were read, by registry and config: one is read before it is written."""

    def call(self, action: Callable[[RegistryClient], Coroutine[Any, Any, _T]]) -> _T:
        """Run one action with the client and wait for it.

        Raises:
            CancelledError: the line was closed meanwhile.
        """
        try:
            with self._scope.entered():
                self._scope.check()
                with self._lock:
                    if self._caller is None:
                        self._caller = Caller(self.access)
                return self._caller.call(action)
        except Cancelled:
            raise CancelledError from None

    @contextmanager
    def turn(self, registry: str, digest: Digest) -> Iterator[str | None]:
        """Alone on the way to a registry with a blob; the repository that was given it before.

        So what goes to several repositories is sent once, and mounted.
        """
        key = (registry, digest)
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            yield self._holders.get(key)

    def note(self, registry: str, digest: Digest, repository: str) -> None:
        """A repository has a blob now."""
        self._holders.setdefault((registry, digest), repository)
        self._seen[registry, repository, digest] = time.monotonic()

    def has(self, registry: str, repository: str, digest: Digest) -> bool:
        """Whether a repository had a blob just now."""
        seen = self._seen.get((registry, repository, digest))
        return seen is not None and time.monotonic() - seen < FRESH

    def close(self) -> None:
        """Cancel what is under way: whoever waits for it hears so at once."""
        self._scope.cancel()
        with self._lock:
            caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()
