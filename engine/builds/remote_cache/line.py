"""One registry client for all threads of a build: an event loop in a thread of its own, started by
the first call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from engine.access import Access
    from images.client import RegistryClient
    from images.digest import Digest

_T = TypeVar("_T")


class Line:
    """The way to registries; ``close`` ends what is still under way."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._started: Future[tuple[asyncio.AbstractEventLoop, RegistryClient]] = Future()
        self._calls: set[Future[Any]] = set()
        self._stop: asyncio.Event | None = None
        self._closed = False
        self._turns: dict[tuple[str, Digest], threading.Lock] = {}
        self._holders: dict[tuple[str, Digest], str] = {}

    def call(self, action: Callable[[RegistryClient], Coroutine[Any, Any, _T]]) -> _T:
        """Run one action with the client and wait for it.

        Raises:
            concurrent.futures.CancelledError: the line was closed meanwhile.
        """
        with self._lock:
            if self._closed:
                raise CancelledError
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="registries", daemon=True)
                self._thread.start()
        loop, client = self._started.result()
        with self._lock:
            if self._closed:
                raise CancelledError
            future = asyncio.run_coroutine_threadsafe(action(client), loop)
            self._calls.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._calls.discard(future)

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

    def close(self) -> None:
        """Cancel what is under way and end the thread."""
        with self._lock:
            self._closed = True
            calls, thread = list(self._calls), self._thread
        for call in calls:
            call.cancel()
        if thread is None:
            return
        if self._started.exception() is None and self._stop is not None:
            self._started.result()[0].call_soon_threadsafe(self._stop.set)
        thread.join()

    def _serve(self) -> None:
        try:
            asyncio.run(self._keep_open())
        except BaseException as error:  # noqa: BLE001 - handed to whoever called first
            if not self._started.done():
                self._started.set_exception(error)

    async def _keep_open(self) -> None:
        self._stop = asyncio.Event()
        async with self.access.client() as client:
            self._started.set_result((asyncio.get_running_loop(), client))
            await self._stop.wait()
