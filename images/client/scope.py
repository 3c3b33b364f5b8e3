"""Work that ends together where there is no event loop: what is begun in a scope ends with it.

A coroutine function needs no event loop as long as whatever it awaits returns at once or blocks;
``run`` carries such a one out in the thread that calls it. Several at a time are several threads.
What an event loop's cancellation is to tasks, a ``Scope`` is to these: it shuts the sockets they
wait on, and they find out at their next step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from images.errors import InternalError

_T = TypeVar("_T")


class Cancelled(BaseException):
    """The scope that this thread works in was cancelled; not to be caught as a failure."""


class Scope:
    """What is cancelled together; safe to use from any thread."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._ends: dict[object, Callable[[], object]] = {}

    def cancel(self) -> None:
        """End all that waits in this scope and the ones inside it; harmless when repeated."""
        with self._lock:
            self._over.set()
            ends, self._ends = list(self._ends.values()), {}
        for end in ends:
            end()

    def check(self) -> None:
        """Raises:
        Cancelled: it was.
        """
        if self._over.is_set():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Wait, unless it is cancelled meanwhile; raises as ``check``."""
        if self._over.wait(seconds):
            raise Cancelled

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Call ``end`` in the thread that cancels, if that happens within the block.

        Raises:
            Cancelled: it had happened before.
        """
        mark = object()
        with self._lock:
            self.check()
            self._ends[mark] = end
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(mark, None)

    @contextmanager
    def entered(self) -> Iterator[Scope]:
        """Make it the current one of the block, inside the one that is current now."""
        with current().ending(self.cancel):
            before = _CURRENT.set(self)
            try:
                yield self
            finally:
                _CURRENT.reset(before)


_CURRENT: ContextVar[Scope | None] = ContextVar("scope", default=None)


def current() -> Scope:
    """The scope of this thread's work; one that nobody cancels where none was entered."""
    return _CURRENT.get() or Scope()


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Carry out a coroutine that never waits for an event loop.

    Raises:
        InternalError: it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise InternalError("something waits for an event loop where there is none")
