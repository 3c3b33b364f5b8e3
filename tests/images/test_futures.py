"""Results that threads wait for, and the threads that bring them about."""

from __future__ import annotations

import threading

import pytest

from images.futures import CancelledError, Future, Pool, wait


def test_a_result_is_waited_for_by_any_thread() -> None:
    future: Future[int] = Future()
    seen: list[int] = []
    waiting = [threading.Thread(target=lambda: seen.append(future.result())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert not future.done()
    assert not wait([future], timeout=0.01)
    future.set_result(7)
    for thread in waiting:
        thread.join()
    assert seen == [7, 7, 7]
    assert future.done()
    assert future.exception() is None


def test_a_failure_is_handed_to_whoever_asks() -> None:
    with Pool(1, "test") as pool:
        future = pool.submit(int, "no number")
        assert wait([future])
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no number"):
        future.result()


def test_callbacks_are_called_once_before_or_after_the_end() -> None:
    future: Future[None] = Future()
    called: list[str] = []
    future.when_done(lambda: called.append("before"))
    assert called == []
    future.set_result(None)
    future.when_done(lambda: called.append("after"))
    assert called == ["before", "after"]


def test_no_more_threads_than_allowed_work_at_the_same_time() -> None:
    both, lock = threading.Barrier(2), threading.Lock()
    busy: list[int] = [0, 0]

    def work(number: int) -> int:
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        if number < 2:
            both.wait(timeout=60)
        with lock:
            busy[0] -= 1
        return number

    with Pool(2, "test") as pool:
        futures = [pool.submit(work, number) for number in range(20)]
    assert [future.result() for future in futures] == list(range(20))
    assert busy == [0, 2]


def test_leaving_the_block_waits_for_what_was_begun() -> None:
    go, done = threading.Event(), []
    with Pool(1, "test") as pool:
        pool.submit(go.wait, 60)
        pool.submit(done.append, 1)
        go.set()
    assert done == [1]
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(done.append, 2)


def test_closing_gives_up_what_waits_and_ends_what_runs() -> None:
    begun, go = threading.Event(), threading.Event()
    pool = Pool(1, "test")

    def work() -> str:
        begun.set()
        go.wait(60)
        return "ended"

    running, waiting = pool.submit(work), pool.submit(work)
    begun.wait(60)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result()
    go.set()
    closing.join()
    assert running.result() == "ended"


def test_a_thread_ends_when_nothing_is_left_and_another_begins() -> None:
    with Pool(1, "test") as pool:
        for number in range(50):
            assert pool.submit(lambda it: it + 1, number).result() == number + 1
