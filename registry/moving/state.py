"""Whether a store may be written to: while it is moved elsewhere it rests, and stays closed then.

One fact of the old index says where a move is (``MOVE``), and every transaction that writes looks
at it, in whatever process or replica. ``copying`` changes nothing. ``moving`` refuses writes until
the moment it names, which whoever moves the store puts off again and again: when that process is
killed, the store opens by itself. ``moved`` refuses them for good. The new index is another
registry's to nobody: until it is complete a fact (``ARRIVING``) says whose it becomes, and nobody
serves it. The old one is closed before the new one is opened, so there are never two.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import orjson

from registry.errors import RegistryStartError, StoreMovedError, StoreMovingError

MOVE: Final = "move"
ARRIVING: Final = "move.arriving"
BOOT: Final = "boot"
"""The fact by which collections grant everything a fresh lease (``registry.collection.leases``)."""

GRACE: Final = 10.0
"""Seconds by which clocks of writers may be ahead of the clock of who moves the store."""


class Phase(enum.Enum):
    """Where a move is."""

    COPYING = "copying"
    MOVING = "moving"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the store that this index is of: which one, where to, and until when it rests."""

    phase: Phase
    token: str
    to: str
    until: float = 0.0

    def as_fact(self) -> dict[str, Any]:
        """What the index remembers."""
        return {**asdict(self), "phase": self.phase.value}

    @classmethod
    def of_fact(cls, fact: Any) -> Move | None:
        """What the index remembers; None for nothing."""
        if fact is None:
            return None
        return cls(Phase(fact["phase"]), fact["token"], fact["to"], fact["until"])


def is_over(fact: str, *, mover: str | None, now: float) -> bool:
    """Judge a write by the fact ``MOVE``, as JSON; ``mover`` is the move that the writer makes.

    Returns whether the store rested for a move that was broken off, and opens again now.

    Raises:
        StoreMovingError: the store rests. StoreMovedError: it is another's.
    """
    move = Move.of_fact(orjson.loads(fact))
    if move is None or move.phase is Phase.COPYING or move.token == mover:
        return False
    if move.phase is Phase.MOVED:
        raise StoreMovedError(
            f"this store was moved to {move.to}",
            fix="start the servers with the new configuration",
        )
    if now < move.until + GRACE:
        raise StoreMovingError(f"this store is being moved to {move.to}", fix="try again soon")
    return True


class Facts(Protocol):
    """An index, as far as this is about it."""

    where: str

    def fact(self, name: str) -> Any:
        """What is remembered under ``name``."""
        ...


def require_complete(index: Facts) -> None:
    """Refuse an index that a move still fills.

    Raises:
        RegistryStartError: it does.
    """
    arriving = index.fact(ARRIVING)
    if arriving is not None:
        raise RegistryStartError(
            f"this store is not complete: a move from {arriving['source']} fills it",
            where=index.where,
            fix="run that `lading registry migrate` again, which goes on where it ended",
        )


def require_here(index: Facts) -> None:
    """Refuse to serve a store that was moved elsewhere.

    Raises:
        RegistryStartError: it was.
    """
    move = Move.of_fact(index.fact(MOVE))
    if move is not None and move.phase is Phase.MOVED:
        raise RegistryStartError(
            f"this store was moved to {move.to}",
            where=index.where,
            fix="start with the new configuration; a move that is not complete is taken back by"
            " `lading registry migrate --abort`",
        )
