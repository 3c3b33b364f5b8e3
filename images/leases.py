"""Leases: while one lives, garbage collection spares what was written or renewed since it began.

A lease ends with its ``with`` block, when its time is up, or when its process is gone. Process ids
are reused, so a process is its pid, its start time and its pid namespace (proc(5),
pid_namespaces(7)); one in another namespace cannot be seen from here and is trusted until its time
is up.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Final

    from images.database import Database
    from images.digest import Digest

DEFAULT_TTL: Final = 24 * 3600.0
"""Seconds; long, because a killed process ends its lease anyway."""


class Lease:
    """A lease on a store; use it in a ``with`` block."""

    def __init__(
        self,
        database: Database,
        description: str,
        *,
        ttl: float = DEFAULT_TTL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = os.urandom(16).hex()
        self._database = database
        self._description = description
        self._ttl = ttl
        self._clock = clock

    def add(self, digest: Digest) -> None:
        """Keep this content too, and all it refers to, however old it is: a base image, a layer."""
        self._database.execute(
            "INSERT OR IGNORE INTO pins VALUES (?, ?)", (f"lease/{self.id}", str(digest))
        )

    def __enter__(self) -> Lease:
        now = self._clock()
        pid = os.getpid()
        self._database.execute(
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?)",
            (self.id, self._description, pid, process_identity(pid) or "", now, now + self._ttl),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        release(self._database, self.id)


def release(database: Database, lease_id: str) -> None:
    """End a lease and drop what it pinned."""
    with database.transaction():
        database.execute("DELETE FROM leases WHERE id = ?", (lease_id,))
        database.execute("DELETE FROM pins WHERE owner = ?", (f"lease/{lease_id}",))


def expire(database: Database, *, now: float) -> int:
    """End the leases whose time is up or whose process is gone; returns how many."""
    rows = database.execute("SELECT id, pid, process, expires FROM leases")
    dead = [row[0] for row in rows if row[3] <= now or not _alive(row[1], row[2])]
    for lease_id in dead:
        release(database, lease_id)
    return len(dead)


def oldest(database: Database) -> float | None:
    """When the oldest lease began (seconds since the epoch); None without leases."""
    row = database.one("SELECT min(started) FROM leases")
    return None if row is None else row[0]


def process_identity(pid: int) -> str | None:
    """``namespace:start time`` of a process, None when there is no such process here."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name may hold blanks and brackets; field 22 counts from behind it.
            started = file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return f"{_own_namespace()}:{started}"


def _alive(pid: int, identity: str) -> bool:
    namespace = identity.partition(":")[0]
    if namespace != _own_namespace():
        return True
    return process_identity(pid) == identity


def _own_namespace() -> str:
    return str(os.stat("/proc/self/ns/pid").st_ino)
