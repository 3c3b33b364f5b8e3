"""Tasks that run again and again, by one process of all that serve a folder.

A lock file decides which: whoever holds it runs the tasks, and the kernel gives it to another when
its holder dies. A task that fails is logged and comes again.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.errors import ImagesError

log = logging.getLogger("registry")

_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do every ``seconds``; ``run`` returns what to log, "" for nothing."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[str]]


async def run_tasks(
    root: Path,
    tasks: Sequence[Task],
    *,
    look_seconds: float = _LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run tasks for as long as nobody cancels this; the first round comes at once."""
    path = root / "schedule.lock"
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    due = {task.name: clock() for task in tasks}
    try:
        while True:
            if _has_lock(descriptor):
                for task in tasks:
                    if clock() >= due[task.name]:
                        due[task.name] = clock() + task.seconds
                        await _run(task)
            await asyncio.sleep(look_seconds)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def elected(path: Path, *, look_seconds: float = 1.0) -> AsyncIterator[None]:
    """Wait until this process holds the lock file ``path``; hold it while the block runs."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        while not _has_lock(descriptor):  # noqa: ASYNC110 -- the kernel tells nobody in time
            await asyncio.sleep(look_seconds)
        yield
    finally:
        os.close(descriptor)


def _has_lock(descriptor: int) -> bool:
    """Take the lock, or find that it is ours already."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _run(task: Task) -> None:
    try:
        said = await task.run()
    except (OSError, ImagesError, sqlite3.Error) as error:
        log.warning("%s failed: %s", task.name, error)
    else:
        if said:
            log.info("%s: %s", task.name, said)
