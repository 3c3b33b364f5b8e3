"""Interrupts, kills and builds side by side on one store."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.errors import BuildCancelledError
from builder.runner import Cancellation, RunStep
from builder.solver import execute
from builder.solver.locks import KeyLock
from images import blobs
from images.store import ImageStore
from tests.builder.fakes import write
from tests.builder.workbench import Workbench

KEY = b"k" * 32


@pytest.fixture
def based(bench: Workbench) -> Workbench:
    bench.add_base("base", {"file": "x"})
    return bench


def test_an_interrupt_kills_the_running_step(based: Workbench) -> None:
    stopped = threading.Event()

    def interrupted(step: RunStep) -> int:
        step.cancellation.subscribe(stopped.set)
        _thread.interrupt_main()
        assert stopped.wait(60)
        return 137

    with pytest.raises(KeyboardInterrupt):
        based.build("FROM base\nRUN one\nRUN two\n", {"two": interrupted})
    assert stopped.is_set()
    assert based.store.check(rehash=True) == []
    assert list(based.store.snapshots.leftovers()) == []
    based.build("FROM base\nRUN one\nRUN three\n")
    assert based.runner.texts == ["three"]


def test_what_is_behind_a_command_is_done_while_the_next_one_runs(
    based: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = threading.Event()
    monkeypatch.setattr(execute, "_get_ready_to_pack", ready.set)
    spaces: list[Path] = []

    def first(step: RunStep) -> int:
        assert ready.wait(60)
        spaces.append(step.upper.parent)
        (step.work / "work/incompat").mkdir(parents=True)
        return 0

    def second(step: RunStep) -> int:
        deadline = time.monotonic() + 60
        while sorted(os.listdir(spaces[0])) != ["lock", "upper"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return 0

    based.build("FROM base\nRUN one\nRUN two\n", {"one": first, "two": second})
    assert not spaces[0].exists()
    assert based.store.check(rehash=True) == []


def test_a_killed_build_leaves_a_consistent_store(based: Workbench, tmp_path: Path) -> None:
    """The child dies inside its second command, by SIGKILL, as at a power button."""
    based.store.close()
    pid = os.fork()
    if pid == 0:

        def die(step: RunStep) -> int:
            write(step, "half", "done")
            # The layer of the first command is packed in the background; let it finish. What it
            # holds is then on record twice: by what was asked, and by what that stands on.
            deadline = time.monotonic() + 60
            while sum(bool(row.digests) for row in based.store.cache.rows()) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        try:
            based.build("FROM base\nRUN one\nRUN die\n", {"die": die})
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert based.store.check(rehash=True) == []
    based.build("FROM base\nRUN one\nRUN again\n")
    assert based.runner.texts == ["again"]


def test_identical_steps_of_two_builds_run_once(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    ran: list[str] = []
    inside = threading.Event()

    def build(name: str) -> bool:
        directory = tmp_path / name
        directory.mkdir()
        workbench = Workbench(directory)
        workbench.store.close()
        workbench.store = ImageStore.open(root)

        def slow(step: RunStep) -> None:
            ran.append(name)
            inside.set()
            time.sleep(0.2)

        workbench.add_base("base", {"file": "x"})
        result = workbench.build("FROM base\nRUN slow\n", {"slow": slow})
        workbench.close()
        return result.cached

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build, "first")
        assert inside.wait(60)
        second = pool.submit(build, "second")
        assert not first.result()
        assert second.result()
    assert ran == ["first"]


class Asked(Cancellation):
    """Knows whether somebody who waits has looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = threading.Event()

    @property
    def cancelled(self) -> bool:
        self.looked_at.set()
        return super().cancelled


def test_a_lock_is_exclusive_and_leaves_no_file(tmp_path: Path) -> None:
    held = KeyLock.acquire(tmp_path, KEY, Cancellation())
    assert not held.waited
    asked = Asked()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(KeyLock.acquire, tmp_path, KEY, asked)
        assert asked.looked_at.wait(60)
        time.sleep(0.05)
        assert not waiting.done()
        held.release()
        other = waiting.result(timeout=60)
    assert other.waited
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_lock_can_be_cancelled(tmp_path: Path) -> None:
    held = KeyLock.acquire(tmp_path, KEY, Cancellation())
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(BuildCancelledError):
        KeyLock.acquire(tmp_path, KEY, cancellation)
    held.release()


def test_cancellation_tells_everybody_once() -> None:
    cancellation = Cancellation()
    told: list[str] = []
    cancellation.subscribe(lambda: told.append("one"))
    forget = cancellation.subscribe(lambda: told.append("two"))
    forget()
    cancellation.cancel()
    cancellation.cancel()
    cancellation.subscribe(lambda: told.append("late"))
    assert told == ["one", "late"]
    assert cancellation.cancelled


def test_a_build_sweeps_what_killed_ones_left(
    based: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.fork()
    if pid == 0:
        workspace = based.store.snapshots.new_workspace(())
        workspace.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    for grace in ("STAGE_GRACE", "DEAD_GRACE"):
        monkeypatch.setattr(blobs, grace, -1.0)
    (left,) = based.store.check()
    assert "a killed process left" in left.what
    based.build("FROM base\nRUN one\n")
    assert based.store.check() == []
