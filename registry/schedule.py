"""Tasks that run again and again, by one process of all that serve a store.

Whoever holds the office runs them (``registry.election``). A task that fails is logged and comes
again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from images.errors import ImagesError
from records import Record
from registry.election import Offices, while_elected
from registry.sql.errors import STORE_ERRORS

log = logging.getLogger("registry")

OFFICE: Final = "schedule"
_LOOK_SECONDS: Final = 5.0


class Task(Record):
    """Something to do every ``seconds``; ``run`` returns what to log, "" for nothing."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[str]]


async def run_tasks(
    offices: Offices,
    tasks: Sequence[Task],
    *,
    look_seconds: float = _LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run tasks for as long as nobody cancels this; the first round comes at once."""
    due = {task.name: clock() for task in tasks}

    async def rounds() -> None:
        while True:
            for task in tasks:
                if clock() >= due[task.name]:
                    due[task.name] = clock() + task.seconds
                    await _run(task)
            await asyncio.sleep(look_seconds)

    await while_elected(lambda: offices.stand_for(OFFICE), rounds, look_seconds=look_seconds)


async def _run(task: Task) -> None:
    try:
        said = await task.run()
    except (ImagesError, *STORE_ERRORS) as error:
        log.warning("%s failed: %s", task.name, error)
    else:
        if said:
            log.info("%s: %s", task.name, said)
