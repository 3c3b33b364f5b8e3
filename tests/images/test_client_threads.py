"""Work in threads, and what a cancellation leaves of it: nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from images.client.threads import in_thread, run_bounded


async def test_a_result_and_an_error_come_back() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_a_cancellation_waits_for_the_thread_and_hands_its_result_to_undo() -> None:
    go, begun, undone = threading.Event(), threading.Event(), list[tuple[str, bool]]()

    def work() -> str:
        begun.set()
        go.wait(60)
        return "opened"

    def undo(result: str) -> None:
        undone.append((result, threading.current_thread() is threading.main_thread()))

    task = asyncio.create_task(in_thread(work, undo=undo))
    await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [("opened", False)]


async def test_at_most_so_many_at_once() -> None:
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await run_bounded([job] * 10, 3)
    assert most == 3


async def test_the_first_failure_is_raised_as_itself_with_its_cause() -> None:
    async def fail() -> None:
        raise KeyError("what") from ValueError("why")

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(KeyError) as caught:
        await run_bounded([wait, fail, wait], 3)
    assert isinstance(caught.value.__cause__, ValueError)
