"""The parts of a move: tables made equal, blobs copied at a pace, whatever is in the way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.digest import Digest
from images.errors import BlobUnknownError
from registry.errors import ObjectStoreError
from registry.moving import rows as module
from registry.moving.rows import Target, equalize, fingerprint, number_on
from registry.moving.tables import Table, index_tables, tables_of
from registry.moving.transfer import Pace, Tally, Transfer, Wanted
from registry.sql.connection import Connection

SCHEMA = """
CREATE TABLE pairs (a INTEGER NOT NULL, b TEXT NOT NULL, value BLOB, PRIMARY KEY (b, a))
    WITHOUT ROWID;
CREATE TABLE numbers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT);
"""
KEYS = st.tuples(st.text("abé", max_size=2), st.integers(-3, 3))
CONTENT = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=3)), max_size=30)


def database(content: Mapping[tuple[str, int], bytes | None]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    values = [(b, a, value) for (b, a), value in content.items()]
    connection.executemany("INSERT INTO pairs (b, a, value) VALUES (?, ?, ?)", values)
    return connection


def target(connection: sqlite3.Connection) -> Target:
    def write(operation: Callable[[Connection], None]) -> None:
        operation(connection)

    return Target(lambda: connection, write)


@given(CONTENT, CONTENT, st.integers(1, 4))
def test_two_tables_become_equal(
    one: dict[tuple[str, int], bytes | None], other: dict[tuple[str, int], bytes | None], page: int
) -> None:
    (table, _) = tables_of([SCHEMA])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAGE", page)
        patch.setattr(module, "_BATCH", page)
        source, copy = database(one), database(other)
        changes = equalize(table, source, target(copy))
        assert fingerprint(table, source) == fingerprint(table, copy)
        assert changes.read == len(one)
        assert changes.written == sum(other.get(key, ...) != value for key, value in one.items())
        assert changes.removed == len(other.keys() - one.keys())
        again = equalize(table, source, target(copy))
        assert (again.written, again.removed) == (0, 0)
        source.close()
        copy.close()


def test_tables_are_read_off_their_schema() -> None:
    pairs, numbers = tables_of([SCHEMA])
    assert pairs == Table("pairs", ("b", "a", "value"), 2, numbered=False)
    assert numbers == Table("numbers", ("id", "name"), 1, numbered=True)
    assert {"repositories", "objects", "events"} <= {table.name for table in index_tables()}


def test_numbers_of_rows_that_are_gone_are_not_given_again() -> None:
    connection = database({})
    (_, numbers) = tables_of([SCHEMA])
    for newest in (7, 9):
        number_on(connection, numbers, newest)
        connection.execute("INSERT INTO numbers (name) VALUES ('x')")
        assert connection.execute("SELECT MAX(id) FROM numbers").fetchone() == (newest + 1,)
    connection.close()


class Shelf:
    """Blobs in memory. ``broken`` says how often it fails before it works."""

    def __init__(self, blobs: dict[Digest, bytes], broken: int = 0) -> None:
        self.blobs = blobs
        self.broken = broken
        self.calls = 0
        self._lock = threading.Lock()

    def open(self, digest: Digest) -> BinaryIO:
        if digest not in self.blobs:
            raise BlobUnknownError("no such blob", where=str(digest))
        return BytesIO(self.blobs[digest])

    def recorded(self, digests: Any) -> dict[Digest, int]:
        return {digest: len(self.blobs[digest]) for digest in digests if digest in self.blobs}

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        with self._lock:
            self.calls += 1
            if self.broken:
                self.broken -= 1
                raise ObjectStoreError("busy")
            self.blobs.update(blobs)

    def take(self, pieces: Any, digest: Digest, size: int) -> None:
        self.put_all({digest: b"".join(pieces)})


def blobs(count: int, size: int) -> dict[Digest, bytes]:
    made = [number.to_bytes(2, "big") * size for number in range(count)]
    return {Digest.of(data): data for data in made}


def wanted(content: Mapping[Digest, bytes]) -> list[Wanted]:
    return [Wanted(digest, len(data)) for digest, data in content.items()]


def test_what_is_there_is_not_copied_and_damage_is_named() -> None:
    content = {**blobs(100, 50), **blobs(2, 1 << 19)}
    there = dict(list(content.items())[:40])
    here = dict(content)
    spoiled, gone = list(content)[50], list(content)[60]
    here[spoiled] = b"x" * len(content[spoiled])
    del here[gone]
    shelf = Shelf(there)
    told: list[Tally] = []
    done = Transfer(Shelf(here), shelf, jobs=3, told=told.append).run(wanted(content))
    assert (done.blobs, done.copied) == (102, 60)
    assert sorted(it.split(": ")[0] for it in done.missing) == sorted(map(str, (spoiled, gone)))
    assert len(shelf.blobs) == 100
    assert shelf.calls == 4  # two batches of small ones, and two large ones
    assert told


def test_a_store_that_is_busy_is_asked_again() -> None:
    content = blobs(3, 10)
    shelf = Shelf({}, broken=2)
    assert Transfer(Shelf(content), shelf).run(wanted(content)).copied == 3
    with pytest.raises(ObjectStoreError):
        Transfer(Shelf(content), Shelf({}, broken=3)).run(wanted(content))


def test_a_pace_holds_all_threads_together() -> None:
    now, slept = [0.0], list[float]()
    pace = Pace(100, clock=lambda: now[0], sleep=slept.append)
    pace.passed(50)
    pace.passed(50)
    now[0] = 10.0
    pace.passed(200)
    assert slept == [0.5, 1.0, 2.0]
    Pace(None, sleep=slept.append).passed(1 << 30)
    assert len(slept) == 3
