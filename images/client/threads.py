"""Blocking work and several things at a time, with nothing left half done: on an event loop, where
blocking work goes into threads, and without one (``scope.run``), where it is just done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar

from images.client.scope import Cancelled, Scope, current, run
from images.futures import Pool, wait

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

_T = TypeVar("_T")
_P = ParamSpec("_P")
Job = Callable[[], Coroutine[Any, Any, None]]


def on_loop() -> bool:
    """Whether an event loop runs in this thread; without asyncio's import where none can."""
    loops = sys.modules.get("asyncio")
    if loops is None:
        return False
    try:
        loops.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_cancellation(error: BaseException) -> bool:
    """Whether it only says that something else ended this work."""
    loops = sys.modules.get("asyncio")
    return isinstance(error, Cancelled) or (
        loops is not None and isinstance(error, loops.CancelledError)
    )


class Lock(Protocol):
    """Held in an ``async with`` block."""

    async def __aenter__(self) -> object:
        """Take it."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Give it back."""


class ThreadLock:
    """A ``Lock`` between threads without event loops."""

    def __init__(self) -> None:
        import threading

        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        self._lock.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._lock.release()


async def pause(seconds: float) -> None:
    """Wait; raises ``Cancelled`` where there is no event loop and the scope ends meanwhile."""
    if on_loop():
        import asyncio

        await asyncio.sleep(seconds)
    else:
        current().pause(seconds)


async def to_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """``work`` in a thread, as ``asyncio.to_thread`` does it; where there is no loop, right here.

    A cancellation does not wait for it, so it must not hold anything: else use ``in_thread``.
    """
    if on_loop():
        import asyncio

        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


async def in_thread(
    work: Callable[[], _T], *, undo: Callable[[_T], object] = lambda _result: None
) -> _T:
    """Run ``work`` in a thread; a cancellation waits for it, so that nobody closes its files early.

    ``undo`` receives a result that nobody will take any more.
    """
    if not on_loop():
        return work()
    import asyncio

    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _finish(task)
        if not task.cancelled() and task.exception() is None:
            await _finish(asyncio.ensure_future(asyncio.to_thread(undo, task.result())))
        raise


async def _finish(task: asyncio.Future[Any]) -> None:
    """Wait for ``task`` to the end, whatever happens to the waiting one."""
    import asyncio

    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


async def run_bounded(jobs: Iterable[Job], limit: int) -> None:
    """Run ``jobs``, at most ``limit`` at once; the first failure cancels the rest and is raised."""
    if on_loop():
        await _as_tasks(jobs, limit)
    else:
        _in_threads(list(jobs), limit)


async def gather(jobs: Iterable[Callable[[], Coroutine[Any, Any, _T]]], limit: int) -> list[_T]:
    """As ``run_bounded``; returns what they return, in their order."""
    found: dict[int, _T] = {}

    async def keep(position: int, job: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        found[position] = await job()

    await run_bounded([partial(keep, *item) for item in enumerate(jobs)], limit)
    return [found[position] for position in sorted(found)]


async def _as_tasks(jobs: Iterable[Job], limit: int) -> None:
    import asyncio

    gate = asyncio.Semaphore(limit)

    async def one(job: Job) -> None:
        async with gate:
            await job()

    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(one(job))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__


def _in_threads(jobs: list[Job], limit: int) -> None:
    if len(jobs) < 2:
        for job in jobs:
            run(job())
        return
    failures: list[BaseException] = []
    with Scope().entered() as scope, Pool(min(limit, len(jobs)), "transfer") as pool:

        def one(job: Job) -> None:
            try:
                scope.check()
                run(job())
            except BaseException as error:
                # The ones that follow from it come later.
                failures.append(error)
                scope.cancel()
                raise

        try:
            wait([pool.submit(copy_context().run, one, job) for job in jobs])
        except BaseException:
            scope.cancel()
            raise
    if failures:
        raise failures[0]
