"""Who, of all that serve a store, does what only one may do at a time.

An office is taken by whoever comes first and falls free with its holder's process, however that
ends: the kernel sees to it for a lock file, the database for a lock of a connection. Holding an
office is no right to anything: what is done by it stays right when two do it for a moment, as
happens when a holder lost its connection and has not noticed yet.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from registry.presence import has_ended, process_name

log = logging.getLogger("registry")

_ANSWER_SECONDS: Final = 10.0
"""An office that cannot be confirmed for this long counts as lost."""


class Election(Protocol):
    """One office. Methods block."""

    def holds(self) -> bool:
        """Whether the office is this process'; taken when it is free.

        True again means that nobody else had it since. False after True: it was lost, and the next
        call stands for it anew.
        """
        ...

    def close(self) -> None:
        """Give it back; harmless when it is not held."""
        ...


class Offices(Protocol):
    """The offices of one store, by name."""

    def stand_for(self, name: str) -> Election:
        """Stand for an office; two of one process are rivals, too. Blocks."""
        ...

    def presence(self) -> str:
        """The name of this process, which no other one ever has; blocks."""
        ...

    def is_gone(self, presence: str) -> bool | None:
        """Whether the process of that name has ended; None where nobody can tell. Blocks."""
        ...


class FileOffices:
    """Lock files in the folder of a store, for the processes of one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def stand_for(self, name: str) -> Election:
        """See ``Offices``; the file is ``NAME.lock``."""
        return FileElection(self._root / f"{name}.lock")

    def presence(self) -> str:
        """See ``Offices``."""
        return process_name()

    def is_gone(self, presence: str) -> bool | None:
        """See ``Offices``; of another machine's process nobody can tell."""
        return has_ended(presence)


class FileElection:
    """A lock file (flock(2)), which is held until it is closed."""

    def __init__(self, path: Path) -> None:
        """Open the file, made when it is missing; raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()

    def holds(self) -> bool:
        """See ``Election``."""
        with self._lock:
            if self._descriptor < 0:
                return False
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def close(self) -> None:
        """See ``Election``."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


async def while_elected(
    stand: Callable[[], Election],
    work: Callable[[], Awaitable[None]],
    *,
    look_seconds: float,
    answer_seconds: float = _ANSWER_SECONDS,
) -> None:
    """Do ``work`` whenever the office is held, until cancelled; a loss cancels the work.

    The office is asked for every ``look_seconds``. An error of ``work`` ends this, too.
    """
    election = await asyncio.to_thread(stand)
    try:
        while True:
            if await _holds(election, answer_seconds):
                await _work_while_held(election, work, look_seconds, answer_seconds)
            await asyncio.sleep(look_seconds)
    finally:
        await asyncio.to_thread(election.close)


async def _work_while_held(
    election: Election,
    work: Callable[[], Awaitable[None]],
    look_seconds: float,
    answer_seconds: float,
) -> None:
    task = asyncio.ensure_future(work())
    try:
        while not (await asyncio.wait([task], timeout=look_seconds))[0]:
            if not await _holds(election, answer_seconds):
                log.warning("the connection that held an office was lost; its work stops")
                return
        task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _holds(election: Election, seconds: float) -> bool:
    """Whether the office is held for sure: who does not answer in time holds nothing."""
    try:
        # Not ``wait_for``, which loses a cancellation that comes with the answer (gh-86296).
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(election.holds)
    except TimeoutError:
        return False
