import multiprocessing
import os
import sqlite3
import threading

import pytest

from images.database import IMAGES_MIGRATIONS, Database
from images.errors import EnvironmentFault, InternalError

ONE = ("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);",)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def database(path):
    database = Database(path, {"x": ONE})
    yield database
    database.close()


def test_statements(database):
    database.execute("INSERT INTO t VALUES (?, ?)", (1, "a"))
    assert database.execute("SELECT * FROM t") == [(1, "a")]
    assert database.one("SELECT b FROM t WHERE a = 1") == ("a",)
    assert database.one("SELECT b FROM t WHERE a = 2") is None
    assert database.changed("UPDATE t SET b = 'z'") == 1
    assert database.changed("DELETE FROM t WHERE a = 9") == 0


def test_write_ahead_log(database, path):
    assert database.one("PRAGMA journal_mode") == ("wal",)
    assert database.one("PRAGMA synchronous") == (1,)


def test_transactions_are_all_or_nothing(database):
    def work():
        with database.transaction():
            database.execute("INSERT INTO t VALUES (1, 'a')")
            with database.transaction(durable=True):
                database.execute("INSERT INTO t VALUES (2, 'b')")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert database.execute("SELECT * FROM t") == []
    with database.transaction(durable=True):
        assert database.one("PRAGMA synchronous") == (2,)
        database.execute("INSERT INTO t VALUES (3, 'c')")
    assert database.one("PRAGMA synchronous") == (1,)
    assert database.execute("SELECT a FROM t") == [(3,)]


def test_threads_share_it(database):
    def work(start):
        for n in range(start, start + 50):
            with database.transaction():
                database.execute("INSERT INTO t VALUES (?, 'x')", (n,))

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.one("SELECT count(*) FROM t") == (300,)


def _insert(path, count):
    database = Database(path, {"x": ONE})
    for _ in range(count):
        with database.transaction():
            (value,) = database.one("SELECT coalesce(max(a), 0) FROM t")
            database.execute("INSERT INTO t VALUES (?, 'x')", (value + 1,))


def test_processes_share_it_from_its_creation_on(path):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_insert, args=(path, 40)) for _ in range(5)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 5
    database = Database(path, {"x": ONE})
    assert database.one("SELECT count(*), max(a) FROM t") == (200, 200)
    database.close()


def test_a_forked_child_opens_its_own_connection(database):
    database.execute("INSERT INTO t VALUES (1, 'parent')")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=database.execute, args=("INSERT INTO t VALUES (2, 'child')",))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert database.one("SELECT count(*) FROM t") == (2,)


def test_killed_inside_a_transaction(database, path):
    pid = os.fork()
    if pid == 0:
        with database.transaction():
            database.execute("INSERT INTO t VALUES (1, 'lost')")
            os._exit(9)
    os.waitpid(pid, 0)
    assert database.execute("SELECT * FROM t") == []
    assert database.integrity_problems() == []


def test_closing_is_not_the_end(database):
    database.execute("INSERT INTO t VALUES (1, 'a')")
    database.close()
    database.close()
    assert database.one("SELECT b FROM t") == ("a",)


class TestMigrations:
    def test_steps_run_once_and_in_order(self, path):
        steps = ["CREATE TABLE a (x);", "ALTER TABLE a ADD COLUMN y; CREATE INDEX i ON a (y);"]
        Database(path, {"c": steps[:1]}).close()
        Database(path, {"c": steps}).close()
        database = Database(path, {"c": steps})
        database.execute("INSERT INTO a (x, y) VALUES (1, 2)")
        assert database.one("SELECT version FROM schema WHERE component = 'c'") == (2,)
        database.close()

    def test_components_live_side_by_side(self, path):
        Database(path, {"images": IMAGES_MIGRATIONS}).close()
        both = {"images": IMAGES_MIGRATIONS, "engine": ["CREATE TABLE containers (id);"]}
        database = Database(path, both)
        database.execute("SELECT * FROM containers, names, cache, leases, layers, images, pins")
        database.close()
        Database(path, {"images": IMAGES_MIGRATIONS}).close()

    def test_a_failing_step_changes_nothing(self, path):
        with pytest.raises(EnvironmentFault):
            Database(path, {"c": ["CREATE TABLE a (x); CREATE TABLE a (x);"]})
        database = Database(path, {"c": ["CREATE TABLE a (x);"]})
        assert database.execute("SELECT * FROM a") == []
        database.close()

    def test_a_newer_schema_is_refused(self, path):
        Database(path, {"c": ["CREATE TABLE a (x);", "CREATE TABLE b (x);"]}).close()
        with pytest.raises(
            EnvironmentFault, match="schema version 2, this program knows 1"
        ) as caught:
            Database(path, {"c": ["CREATE TABLE a (x);"]})
        assert caught.value.where == str(path)


class TestFaults:
    def test_not_a_database(self, path):
        path.write_bytes(b"not a database at all, " * 100)
        with pytest.raises(InternalError, match="damaged") as caught:
            Database(path, {"x": ONE})
        assert caught.value.fix

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(EnvironmentFault, match="unable to open"):
            Database(tmp_path / "no/such/state.db", {"x": ONE})

    def test_our_own_mistakes_stay_what_they_are(self, database):
        database.execute("INSERT INTO t VALUES (1, 'a')")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO t VALUES (1, 'a')")

    def test_damage_is_found(self, database, path):
        with database.transaction():
            for n in range(2000):
                database.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 50))
        assert database.integrity_problems() == []
        database.close()
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(4096))
        assert database.integrity_problems() != []


def test_a_reader_is_not_blocked_by_a_writer(database, path):
    other = Database(path, {"x": ONE})
    with other.transaction():
        other.execute("INSERT INTO t VALUES (1, 'a')")
        assert database.execute("SELECT * FROM t") == []
    assert database.execute("SELECT a FROM t") == [(1,)]
    other.close()
