"""Rooms' databases: the same in a file and in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.errors import IndexFormatError, OutgrownError, RegistryStartError
from registry.sql.errors import DATABASE_ERRORS, DatabaseLostError
from registry.sql.postgres.link import Address
from registry.sql.postgres.stores import PostgresStores
from registry.sql.stores import SqliteStores, Store, Stores
from tests.registry.postgres_kit import PostgresServer

pytestmark = pytest.mark.peer

STEPS = (
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, content BLOB);",
    "ALTER TABLE rows ADD COLUMN moment REAL NOT NULL DEFAULT 0;\n"
    "CREATE INDEX rows_by_moment ON rows (moment);",
)
ADD = "INSERT INTO rows (name, content, moment) VALUES (?, ?, ?) RETURNING id"


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Stores]:
    if request.param == "sqlite":
        yield SqliteStores()
        return
    settings = postgres_server.settings()
    yield PostgresStores(Address(settings), wait=settings.wait)
    postgres_server.drop(settings.schema)


def add(store: Store, name: str, between: Callable[[], object], again: str = "x") -> None:
    """Two rows in one transaction, and something between them."""
    with store.transaction() as run:
        run.execute(ADD, (name, None, 0.5))
        between()
        run.execute(ADD, (again, None, 0.5))


def test_a_store_grows_with_its_steps(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "room.db"
    first = stores.open(path, STEPS[:1])
    with first.transaction() as run:
        run.execute("INSERT INTO rows (name, content) VALUES (?, ?)", ("a", b"\0x"))
    first.close()
    second = stores.open(path, STEPS)
    sql = "SELECT name, content, moment FROM rows"
    assert second.reader().execute(sql).fetchall() == [("a", b"\0x", 0.0)]
    second.close()
    with pytest.raises(IndexFormatError) as caught:
        stores.open(path, STEPS[:1])
    assert caught.value.fix
    other = stores.open(tmp_path / "another.db", STEPS)
    assert other.reader().execute(sql).fetchall() == []
    other.close()


def test_who_is_older_than_the_store_reads_on_and_writes_no_more(
    stores: Stores, tmp_path: Path
) -> None:
    path = tmp_path / "room.db"
    old = stores.open(path, STEPS[:1])
    insert = "INSERT INTO rows (name) VALUES (?)"
    with old.transaction() as run:
        run.execute(insert, ("a",))
    new = stores.open(path, STEPS)
    refused = pytest.raises(OutgrownError, match="format 2, this process writes 1")
    with refused, old.transaction() as run:
        run.execute(insert, ("b",))
    with new.transaction() as run:
        run.execute(insert, ("c",))
    sql = "SELECT name FROM rows ORDER BY name"
    assert old.reader().execute(sql).fetchall() == [("a",), ("c",)]
    old.close()
    new.close()


def test_what_raises_is_undone(stores: Stores, tmp_path: Path) -> None:
    store = stores.open(tmp_path / "room.db", STEPS)
    with pytest.raises(ZeroDivisionError):
        add(store, "a", lambda: 1 // 0)
    with store.transaction() as run:
        assert run.execute(ADD, ("b", None, 1.5)).fetchone()[0] >= 1
    with pytest.raises(DATABASE_ERRORS):
        add(store, "c", int, again="b")
    assert store.reader().execute("SELECT name FROM rows").fetchall() == [("b",)]
    store.close()


def test_transactions_come_one_after_the_other(stores: Stores, tmp_path: Path) -> None:
    """Also those of two replicas, or of two processes with the same file."""
    both = [stores.open(tmp_path / "room.db", STEPS) for _ in range(2)]

    def count(number: int) -> None:
        for _ in range(20):
            with both[number % 2].transaction(durable=False) as run:
                highest = run.execute("SELECT COALESCE(MAX(moment), 0) FROM rows").fetchone()[0]
                run.execute(ADD, (f"{number}-{highest}", None, highest + 1))

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert both[0].reader().execute("SELECT MAX(moment) FROM rows").fetchone() == (80.0,)
    for store in both:
        store.close()


def test_a_server_that_crashes_is_asked_again(own_server: PostgresServer) -> None:
    settings = own_server.settings()
    store = PostgresStores(Address(settings), wait=settings.wait).open(Path("room.db"), STEPS)
    with pytest.raises(DatabaseLostError):
        add(store, "a", own_server.crash)
    with store.transaction() as run:
        run.execute(ADD, ("c", None, 0.0))
    assert store.reader().execute("SELECT name FROM rows").fetchall() == [("c",)]
    store.close()


def test_a_server_that_is_not_there_is_told(postgres_server: PostgresServer) -> None:
    settings = postgres_server.settings(url="postgresql://lading@127.0.0.1:1/lading", wait=2.0)
    with pytest.raises(RegistryStartError, match="refused") as caught:
        PostgresStores(Address(settings), wait=2.0).open(Path("room.db"), STEPS)
    assert "start it" in str(caught.value.fix)
