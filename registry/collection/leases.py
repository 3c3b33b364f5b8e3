"""Leases: what a client was told exists stays for a while, whatever a collection thinks of it.

A lease begins with an upload, a mount, a manifest PUT, a HEAD of a blob, and a HEAD or GET of a
manifest, and is a moment in the row of what it protects, so every process sees it and it goes with
the row. A moment that is younger than ``slack`` (an eighth of the lease) is not written again, and
this process remembers for another ``slack`` which rows are that young, so that a hot manifest costs
a look into a set. A collection adds both to the time it grants (``cutoff``): after any of these
answers content stays for at least the whole lease.

Renewals are committed before the answer is sent, yet not fsynced; after a power cut a collection
waits for one lease instead (``note_boot``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from registry.database import NO_REPOSITORY, Database
from registry.errors import StoreMovingError
from registry.moving.state import BOOT
from registry.protocols import Index, IndexWriter

__all__ = ["BOOT", "Leases", "cutoff", "note_boot", "slack"]

_PARTS: Final = 8
_ROUNDING: Final = 1
"""Moments in rows are whole seconds."""

_REMEMBERED: Final = 65536


def slack(lease: float) -> float:
    """How old a lease may be, in seconds, before it is worth a write."""
    return lease / _PARTS


def cutoff(now: float, lease: float) -> int:
    """Rows leased before this moment hold no lease any more."""
    return int(now - lease - 2 * slack(lease)) - _ROUNDING


class Leases:
    """Renews leases for one process; used from the event loop only."""

    def __init__(
        self,
        index: Index,
        writer: IndexWriter,
        lease: float,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._writer = writer
        self._slack = slack(lease)
        self._clock = clock
        self._young: set[tuple[str, str]] = set()
        self._until = 0.0

    def fresh(self, repository: str, digest: str) -> bool:
        """Whether the lease was found young a moment ago, so that nothing needs doing."""
        return (repository, digest) in self._young and self._clock() < self._until

    async def blob(self, repository: str, digest: str, leased: int) -> bool:
        """Make sure of a blob whose row says ``leased``; False when it is gone meanwhile."""
        return await self._renew(self._index.renew_blob, repository, digest, leased)

    async def manifest(self, repository: str, digest: str, leased: int) -> bool:
        """Make sure of a manifest whose row says ``leased``; False when it is gone meanwhile."""
        return await self._renew(self._index.renew_manifest, repository, digest, leased)

    async def _renew(
        self, renew: Callable[[str, str], bool], repository: str, digest: str, leased: int
    ) -> bool:
        now = self._clock()
        if now >= self._until or len(self._young) >= _REMEMBERED:
            self._young.clear()
            self._until = now + self._slack
        if now - leased >= self._slack:
            write = partial(renew, repository, digest)
            try:
                if not await self._writer.write(NO_REPOSITORY, write, durable=False):
                    return False
            except StoreMovingError:
                # Nothing is collected while a store rests, and everything gets a fresh lease then.
                return True
        self._young.add((repository, digest))
        return True


def note_boot(database: Database, now: float) -> None:
    """Remember what tells of a crash, which may have lost the latest renewals."""
    mark = database.crash_mark()
    known = database.fact(BOOT)
    if known is not None and known["id"] == mark:
        return

    def note() -> None:
        moment = 0 if known is None else int(now)
        database.set_fact(BOOT, {"id": database.make_crash_mark(), "moment": moment})

    database.write(NO_REPOSITORY, note)
