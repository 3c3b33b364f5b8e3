"""Reading every blob again and hashing it: does the disk still give back what it was given?

Blobs are read in the order of their digests, so a scrub that ran out of its budget goes on where it
ended. Damage is reported and touched only when asked: a quarantined blob is moved aside and taken
from every repository, so that clients see it missing and push it again, which heals it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from images.digest import Digest
from images.errors import BlobUnknownError
from registry.database import NO_REPOSITORY
from registry.index import SqlIndex
from registry.protocols import Storage

_BUFFER: Final = 1 << 20
_PAGE: Final = 1000
CURSOR: Final = "scrub.cursor"


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """How much was read, and the digests whose bytes are others; sizes in bytes."""

    finished: bool
    blobs: int
    bytes: int
    damaged: tuple[str, ...]
    quarantined: bool
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return dataclasses.asdict(self)


def scrub(
    root: Path,
    index: SqlIndex,
    storage: Storage,
    *,
    budget: float | None = None,
    rate: int | None = None,
    quarantine: bool = False,
    found: Callable[[str], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> ScrubReport:
    """Read blobs until all are read or ``budget`` seconds are over; blocks.

    ``rate`` is the most bytes a second; ``found`` is told each damaged digest at once.
    """
    started = time.monotonic()
    blobs = size = 0
    damaged: list[str] = []
    finished = True
    for digest in _from_cursor(index, storage):
        try:
            actual, length = _hash(storage, digest)
        except BlobUnknownError:
            continue  # collected meanwhile
        blobs, size = blobs + 1, size + length
        if actual != digest:
            damaged.append(str(digest))
            found(str(digest))
            if quarantine:
                _quarantine(root, index, storage, digest)
        spent = time.monotonic() - started
        if rate is not None and size / rate > spent:
            sleep(size / rate - spent)
        if budget is not None and time.monotonic() - started >= budget:
            finished = False
            break
    cursor = None if finished else str(digest)
    index.write(NO_REPOSITORY, partial(index.set_fact, CURSOR, cursor), durable=False)
    seconds = round(time.monotonic() - started, 3)
    return ScrubReport(finished, blobs, size, tuple(damaged), quarantine, seconds)


def _from_cursor(index: SqlIndex, storage: Storage) -> Iterator[Digest]:
    """Digests after the last one of a scrub that ended early, in order."""
    last = index.fact(CURSOR) or ""
    connection = index.connect()
    try:
        # A table rather than a list: the names of a million blobs take 150 MB of objects.
        connection.execute("CREATE TEMP TABLE listed (digest TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO listed VALUES (?)",
            ((str(digest),) for digest in storage.digests() if str(digest) > last),
        )
        connection.execute("COMMIT")
        sql = "SELECT digest FROM listed WHERE digest > ? ORDER BY digest LIMIT ?"
        while rows := connection.execute(sql, (last, _PAGE)).fetchall():
            for (last,) in rows:
                yield Digest.parse(last)
    finally:
        index.disconnect(connection)


def _hash(storage: Storage, digest: Digest) -> tuple[Digest, int]:
    running = hashlib.new(digest.algorithm)
    length = 0
    with storage.open(digest) as file:
        while data := file.read(_BUFFER):
            running.update(data)
            length += len(data)
    return Digest.from_hash(running), length


def _quarantine(root: Path, index: SqlIndex, storage: Storage, digest: Digest) -> None:
    sql = "SELECT name FROM blob_links JOIN repositories ON id = repository WHERE digest = ?"
    for (name,) in index.reader().execute(sql, (str(digest),)).fetchall():
        index.write(name, partial(index.unlink_blob, name, str(digest)))
    folder = root / "quarantine"
    folder.mkdir(exist_ok=True)
    storage.set_aside(digest, folder)
