"""Results that threads wait for, and a few threads that bring them about.

What ``concurrent.futures`` has of the same names, for what starts with a command: that one imports
logging, and with it a tenth of what a build that everything is known of imports.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

_T = TypeVar("_T")
_P = ParamSpec("_P")


class CancelledError(Exception):
    """It was given up before it was done."""


class Future(Generic[_T]):
    """A result that is set once, by one thread, and waited for by any."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._result: _T
        self._error: BaseException | None = None

    def set_result(self, result: _T) -> None:
        """It is done, with this result."""
        self._result = result
        self._end()

    def set_exception(self, error: BaseException) -> None:
        """It failed; whoever asks for the result gets the error."""
        self._error = error
        self._end()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call it, in the thread that ends this; at once if that has happened."""
        with self._lock:
            if not self._over.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def done(self) -> bool:
        """Whether it has ended, in one way or the other."""
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it ends within so many seconds, at most all the time there is."""
        return self._over.wait(timeout)

    def exception(self) -> BaseException | None:
        """Why it failed, if it did; waits until that is known."""
        self._over.wait()
        return self._error

    def result(self) -> _T:
        """What came out; waits for it, and raises what ended it."""
        self._over.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def _end(self) -> None:
        with self._lock:
            self._over.set()
        for callback in self._callbacks:
            callback()


def wait(futures: Iterable[Future[_T]], timeout: float | None = None) -> bool:
    """Wait until all are done; whether they are after ``timeout`` seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    return all(
        future.wait(None if end is None else max(0.0, end - time.monotonic())) for future in futures
    )


class Pool:
    """At most ``limit`` threads, which are there as long as something is to be done.

    Leaving its block waits for everything that was begun.
    """

    def __init__(self, limit: int, name: str) -> None:
        """``name`` is for the threads'."""
        self._limit = limit
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[object], Callable[[], object]]] = deque()
        self._busy = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Do ``work`` as soon as a thread has time; its result is the future's.

        Raises:
            RuntimeError: the pool was closed, or the system has no more threads.
        """
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("a closed pool takes nothing more")
            if self._busy < self._limit:
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(
                    target=self._work, name=f"{self._name}_{len(self._threads)}"
                )
                thread.start()
                self._threads.append(thread)
                self._busy += 1
            self._waiting.append((future, lambda: work(*args, **kwargs)))  # type: ignore[arg-type]
        return future

    def close(self) -> None:
        """Begin nothing more, give up what waits, and wait for what is under way."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            future.set_exception(CancelledError())
        self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closed = True
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy -= 1
                    return
                future, work = self._waiting.popleft()
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                future.set_exception(error)
