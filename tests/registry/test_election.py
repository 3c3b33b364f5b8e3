"""Offices that one of all has: taken when free, free when their holder ends, given up when lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from registry.election import Election, FileOffices, while_elected
from tests.registry.running import PROJECT
from tests.waiting import eventually_async

HOLD = """
import sys, pathlib
from registry.election import FileOffices
print(FileOffices(pathlib.Path(sys.argv[1])).stand_for("office").holds(), flush=True)
sys.stdin.read()
"""


class Fickle:
    """An office that is taken away, or whose keeper does not answer."""

    def __init__(self) -> None:
        self.mine = True
        self.answers = threading.Event()
        self.answers.set()
        self.closed = False

    def stand_for(self, name: str) -> Election:
        return self

    def holds(self) -> bool:
        self.answers.wait(30)
        return self.mine

    def close(self) -> None:
        self.closed = True


class Work:
    """Something that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def __call__(self) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


def test_an_office_is_given_to_one_and_falls_free(tmp_path: Path) -> None:
    first, second = (FileOffices(tmp_path).stand_for("office") for _ in range(2))
    assert first.holds()
    assert first.holds()
    assert not second.holds()
    assert FileOffices(tmp_path).stand_for("another").holds()
    first.close()
    first.close()
    assert second.holds()
    assert not first.holds(), "closed is closed"
    second.close()


def test_an_office_falls_free_with_a_killed_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    office = FileOffices(tmp_path).stand_for("office")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not office.holds()
    finally:
        process.kill()
        process.communicate()
    assert office.holds()
    office.close()


async def test_work_stops_when_the_office_is_lost_and_begins_again() -> None:
    office, work = Fickle(), Work()
    task = asyncio.create_task(
        while_elected(lambda: office, work, look_seconds=0.005, answer_seconds=30)
    )
    await eventually_async(lambda: work.begun)
    office.mine = False
    await eventually_async(lambda: work.ended)
    assert work.begun == 1
    office.mine = True
    await eventually_async(lambda: work.begun == 2)
    task.cancel()
    await asyncio.wait([task])
    assert work.ended == 2
    assert office.closed


async def test_work_stops_when_nobody_can_confirm_the_office() -> None:
    office, work = Fickle(), Work()
    task = asyncio.create_task(
        while_elected(lambda: office, work, look_seconds=0.005, answer_seconds=1.0)
    )
    await eventually_async(lambda: work.begun)
    office.answers.clear()
    await eventually_async(lambda: work.ended == work.begun)
    before = work.begun
    office.answers.set()
    await eventually_async(lambda: work.begun > before)
    task.cancel()
    await asyncio.wait([task])


async def test_work_that_fails_is_told() -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    office = Fickle()
    with suppress(ValueError):
        await while_elected(lambda: office, fail, look_seconds=0.005)
        raise AssertionError("it was swallowed")
    assert office.closed
