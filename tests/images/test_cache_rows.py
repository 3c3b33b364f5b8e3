import pytest

from images.cache_rows import CacheRows
from images.database import IMAGES_MIGRATIONS, Database
from images.digest import Digest

A, B = Digest.of(b"a"), Digest.of(b"b")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rows(tmp_path, clock):
    database = Database(tmp_path / "db", {"images": IMAGES_MIGRATIONS})
    yield CacheRows(database, clock=clock)
    database.close()


def test_round_trip(rows):
    rows.put(b"\0key", "run", b'{"x":1}', digests=[A, B], size=77)
    row = rows.get(b"\0key")
    assert (row.key, row.kind, row.value) == (b"\0key", "run", b'{"x":1}')
    assert (row.digests, row.size) == ((A, B), 77)
    assert (row.created, row.used) == (1000.0, 1000.0)
    assert rows.get(b"other") is None


def test_replaced(rows):
    rows.put(b"k", "run", b"1", digests=[A])
    rows.put(b"k", "copy", b"2")
    assert (rows.get(b"k").value, rows.get(b"k").digests) == (b"2", ())


def test_use_is_noted_but_not_every_time(rows, clock):
    rows.put(b"k", "run", b"1")
    clock.now += 30
    rows.get(b"k")
    assert rows.get(b"k").used == 1000.0
    clock.now += 60
    rows.get(b"k")
    assert rows.get(b"k").used == 1090.0


def test_delete(rows):
    rows.put(b"k", "run", b"1")
    assert rows.delete(b"k")
    assert not rows.delete(b"k")


def test_prune(rows, clock):
    for key, kind in ((b"1", "run"), (b"2", "copy"), (b"3", "run")):
        rows.put(key, kind, b"")
        clock.now += 10
    assert [row.key for row in rows.rows()] == [b"1", b"2", b"3"]
    assert [row.key for row in rows.rows("run")] == [b"1", b"3"]
    assert rows.prune(unused_since=1015.0, kind="run") == 1
    assert rows.prune(unused_since=1015.0) == 1
    assert rows.prune() == 1
    assert list(rows.rows()) == []
