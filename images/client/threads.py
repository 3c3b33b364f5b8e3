"""Blocking work off the event loop, and several tasks at a time, with nothing left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")


async def in_thread(
    work: Callable[[], _T], *, undo: Callable[[_T], object] = lambda _result: None
) -> _T:
    """Run ``work`` in a thread; a cancellation waits for it, so that nobody closes its files early.

    ``undo`` receives a result that nobody will take any more.
    """
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
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


async def run_bounded(jobs: Iterable[Callable[[], Coroutine[Any, Any, None]]], limit: int) -> None:
    """Run ``jobs``, at most ``limit`` at once; the first failure cancels the rest and is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with gate:
            await job()

    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(one(job))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
