"""Changes that somebody follows, written in the very transaction that makes them.

A follower (the transparency log, countersigning) reads events after the position it remembers, does
its part and moves on; a crash makes it read again, never miss one. Nobody follows in most
registries, and then nothing is written. Events that every follower is past are dropped.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from registry.sql.connection import Connection

PAGE: Final = 256
"""Events that a follower takes at a time."""


class Change(enum.Enum):
    """What happened to a repository."""

    MANIFEST = "manifest"
    """A manifest was put: ``digest``, its ``subject`` and ``artifact_type`` if it has them."""
    TAG = "tag"
    """A tag was set or moved to ``digest`` from ``previous``."""
    UNTAG = "untag"
    """A tag that pointed to ``previous`` was removed."""
    DELETE = "delete"
    """The manifest ``digest`` was deleted."""
    PULL = "pull"
    """The manifest ``digest`` was pulled, by ``tag`` if it has one; for webhooks that ask for it
    (``registry.events.pulls``), and no change to anybody else."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change; ``moment`` is in seconds since the epoch, "" stands for none."""

    id: int
    change: Change
    repository: str
    digest: str
    tag: str
    previous: str
    artifact_type: str
    actor: str
    moment: int


class Outbox:
    """The events of one index. ``note`` and ``drop`` run inside its write transactions."""

    def __init__(self, *, followed: bool = False) -> None:
        self._followed = followed

    def follow(self, *, followed: bool) -> None:
        """From the next change on, write changes down or do not."""
        self._followed = followed

    def note(
        self,
        writer: Connection,
        change: Change,
        repository: str,
        *,
        moment: int,
        actor: str,
        digest: str = "",
        tag: str = "",
        previous: str | None = None,
        artifact_type: str = "",
    ) -> None:
        """Write an event into the transaction under way, if anybody follows."""
        if not self._followed:
            return
        writer.execute(
            "INSERT INTO events"
            " (change, repository, digest, tag, previous, artifact_type, actor, moment)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                change.value,
                repository,
                digest,
                tag,
                previous or "",
                artifact_type,
                actor,
                moment,
            ),
        )


def read_events(reader: Connection, *, after: int, limit: int = PAGE) -> list[Event]:
    """Up to ``limit`` events after the one called ``after``, oldest first."""
    sql = (
        "SELECT id, change, repository, digest, tag, previous, artifact_type, actor, moment"
        " FROM events WHERE id > ? ORDER BY id LIMIT ?"
    )
    return [Event(row[0], Change(row[1]), *row[2:]) for row in reader.execute(sql, (after, limit))]


def drop_events(writer: Connection, *, through: int) -> int:
    """Forget the events up to ``through``; returns how many. Write."""
    return writer.execute("DELETE FROM events WHERE id <= ?", (through,)).rowcount
