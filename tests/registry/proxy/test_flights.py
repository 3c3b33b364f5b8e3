"""Single flight: who goes, who waits, and what happens when somebody leaves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.proxy.flights import Flights, Locks


async def test_one_goes_and_all_have_the_outcome() -> None:
    flights, gone = Flights(), 0

    async def go() -> int:
        nonlocal gone
        gone += 1
        await asyncio.sleep(0)
        return gone

    assert await asyncio.gather(*(flights.join("a", go) for _ in range(9))) == [1] * 9
    assert await flights.join("a", go) == 2, "later is another flight"


async def test_all_have_the_fault_and_the_next_may_try() -> None:
    flights = Flights()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    found = await asyncio.gather(
        *(flights.join("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in found] == [ValueError] * 3
    with pytest.raises(ValueError, match="no"):
        await flights.join("a", fail)


async def test_who_leaves_ends_nothing() -> None:
    flights, released = Flights(), asyncio.Event()

    async def go() -> str:
        await released.wait()
        return "done"

    first = asyncio.create_task(flights.join("a", go))
    second = asyncio.create_task(flights.join("a", go))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    released.set()
    assert await second == "done"


async def test_closing_calls_off_what_is_under_way() -> None:
    flights = Flights()
    task = flights.start("a", asyncio.sleep(3600))
    await flights.close()
    assert task.cancelled()


async def test_a_process_that_dies_gives_its_locks_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from registry.proxy.flights import Locks\n"
        "async def main():\n"
        "    async with Locks(Path(sys.argv[1])).hold('a'):\n"
        "        print('held', flush=True)\n"
        "        sys.stdin.read(1)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    other = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert await asyncio.to_thread(other.stdout.readline) == b"held\n"
    locks = Locks(path)
    async with locks.hold("b"):
        pass
    held = asyncio.Event()

    async def wait() -> None:
        async with locks.hold("a"):
            held.set()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.2)
    assert not held.is_set()
    await asyncio.to_thread(other.communicate, b"x")
    await asyncio.wait_for(waiting, 60)
    locks.close()
