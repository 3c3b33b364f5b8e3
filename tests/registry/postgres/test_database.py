"""Batches, the lock that all replicas share, connections that break, and schemas that are made."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from registry import schema as sqlite_schema
from registry.errors import IndexFormatError, OutgrownError, RegistryStartError
from registry.faults import refusal_of
from registry.index import Write
from registry.records import BlobLink, NewManifest
from registry.sql.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseLostError,
    OutcomeUnknownError,
    UnfitValueError,
)
from registry.sql.postgres import database as module
from registry.sql.postgres.index import PostgresIndex
from registry.sql.settings import IndexSettings
from registry.sql.sqlite import SqliteDatabase
from tests.registry.postgres_kit import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.peer


@pytest.fixture
def index(settings: IndexSettings) -> Iterator[PostgresIndex]:
    index = PostgresIndex(settings)
    yield index
    index.close()


@pytest.fixture
def other(settings: IndexSettings, index: PostgresIndex) -> Iterator[PostgresIndex]:
    """The same index, of another replica."""
    other = PostgresIndex(settings)
    yield other
    other.close()


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def link(index: PostgresIndex, number: int, name: str = "a") -> None:
    index.write(name, partial(index.link_blob, name, digest(number), number))


def cut(server: PostgresServer, schema: str) -> None:
    """End every session that has this schema, as a fault of the network would."""
    # With a timeout, which waits for the end: a session is not over when it was told so.
    server.sql(
        "SELECT pg_terminate_backend(l.pid, 60000)"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.pid <> pg_backend_pid() AND a.application_name = 'lading registry'"
    )
    server.sql(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE application_name = 'lading registry'"
    )


def test_batches_of_replicas_come_one_after_the_other(
    index: PostgresIndex, other: PostgresIndex
) -> None:
    """What a guard reads in a batch is still true at its commit."""
    inside, go_on, seen = threading.Event(), threading.Event(), []

    def slow() -> None:
        index.link_blob("a", digest(1), 1)
        inside.set()
        assert go_on.wait(60)

    first = threading.Thread(target=index.write, args=("a", slow))
    first.start()
    assert inside.wait(60)
    look = partial(other.writer.execute, "SELECT COUNT(*) FROM blob_links")
    second = threading.Thread(
        target=lambda: seen.append(other.write("a", lambda: look().fetchone()))
    )
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it waits for its turn"
    assert other.blob("a", digest(1)) is None, "and reads do not"
    go_on.set()
    second.join(60)
    first.join(60)
    assert seen == [(1,)]


def test_who_is_killed_in_a_batch_leaves_nothing(settings: IndexSettings) -> None:
    PostgresIndex(settings).close()
    pid = os.fork()
    if pid == 0:
        index = PostgresIndex(settings)

        def die() -> None:
            index.link_blob("a", digest(1), 1)
            os.kill(os.getpid(), signal.SIGKILL)

        index.write("a", die)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    index = PostgresIndex(settings)
    assert index.blob("a", digest(1)) is None
    link(index, 2)
    assert index.blob("a", digest(2)) == BlobLink(digest(2), 2, index.blob("a", digest(2)).leased)  # type: ignore[union-attr]
    index.close()


def test_a_connection_that_rested_is_made_anew(own_server: PostgresServer) -> None:
    settings = own_server.settings()
    index = PostgresIndex(settings)
    link(index, 1)
    cut(own_server, settings.schema)
    link(index, 2)
    cut(own_server, settings.schema)
    assert index.blob("a", digest(2)) is not None
    own_server.restart()
    assert index.blob("a", digest(1)) is not None
    link(index, 3)
    index.close()


def test_a_connection_that_breaks_in_a_batch_undoes_it(own_server: PostgresServer) -> None:
    settings = own_server.settings()
    index = PostgresIndex(settings)

    def broken() -> None:
        index.link_blob("a", digest(1), 1)
        cut(own_server, settings.schema)
        index.link_blob("a", digest(2), 2)

    writes = [Write("a", partial(index.link_blob, "a", digest(3), 3)), Write("a", broken)]
    index.apply(writes)
    assert all(isinstance(write.error, DatabaseLostError) for write in writes)
    assert [index.blob("a", digest(n)) for n in (1, 2, 3)] == [None] * 3
    link(index, 3)
    index.close()


@pytest.mark.parametrize("happens", [True, False])
def test_a_lost_answer_to_a_commit_is_looked_for(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, happens: bool
) -> None:
    index = PostgresIndex(own_server.settings())
    commit = module.Link.commit

    def lose(self: module.Link, *last: Any) -> None:
        if happens:
            commit(self, *last)
        own_server.crash()
        raise DatabaseLostError("no answer")

    monkeypatch.setattr(module.Link, "commit", lose)
    write = Write("a", partial(index.link_blob, "a", digest(1), 1))
    index.apply([write])
    monkeypatch.undo()
    assert (index.blob("a", digest(1)) is not None) is happens
    assert (write.error is None) is happens
    link(index, 2)
    index.close()


def test_what_became_of_a_commit_may_stay_unknown(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.5)
    index = PostgresIndex(own_server.settings())
    commit = module.Link.commit

    def lose(self: module.Link, *last: Any) -> None:
        commit(self, *last)
        own_server.stop()
        raise DatabaseLostError("no answer")

    monkeypatch.setattr(module.Link, "commit", lose)
    write = Write("a", partial(index.link_blob, "a", digest(1), 1))
    index.apply([write])
    assert isinstance(write.error, OutcomeUnknownError)
    monkeypatch.undo()
    own_server.start()
    assert index.blob("a", digest(1)) is not None
    index.close()


def test_a_transaction_that_went_on_behind_an_error_is_no_success(index: PostgresIndex) -> None:
    def careless() -> None:
        index.link_blob("a", digest(1), 1)
        with pytest.raises(DatabaseError):
            index.writer.execute("SELECT nonsense")

    with pytest.raises(DatabaseError, match=r"failed|refused"):
        index.write("a", careless)
    assert index.blob("a", digest(1)) is None


def test_a_text_that_cannot_be_stored_is_the_clients_fault(index: PostgresIndex) -> None:
    manifest = NewManifest(digest(1), "x/y", 2, subject=digest(2), artifact_type="a\0b")
    with pytest.raises(UnfitValueError) as caught:
        index.write("a", partial(index.put_manifest, "a", manifest, []))
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "MANIFEST_INVALID")
    assert index.manifest("a", digest(1)) is None


def test_who_stands_still_in_a_batch_does_not_hold_up_the_others(
    index: PostgresIndex, other: PostgresIndex
) -> None:
    def stand_still() -> None:
        index.link_blob("a", digest(1), 1)
        # Last of what it does in time, which a busy machine may take more of.
        index.writer.execute("SET LOCAL idle_in_transaction_session_timeout = 200")
        link(other, 2)
        index.link_blob("a", digest(3), 3)

    with pytest.raises(DatabaseLostError):
        index.write("a", stand_still)
    assert other.blob("a", digest(2)) is not None
    assert other.blob("a", digest(1)) is other.blob("a", digest(3)) is None


def test_every_connection_in_use_is_told(
    settings: IndexSettings, postgres_server: PostgresServer
) -> None:
    few = IndexSettings(
        type=settings.type, url=settings.url, schema=settings.schema, connections=1, wait=1.0
    )
    index = PostgresIndex(few)
    reader = index.reader()

    def slow() -> None:
        with suppress(DatabaseError):
            reader.execute("SELECT pg_sleep(250)")

    busy = threading.Thread(target=slow)
    busy.start()
    sleeping = "pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(250)'"
    eventually(lambda: postgres_server.sql(f"SELECT 1 FROM {sleeping}"))
    with pytest.raises(DatabaseBusyError, match="in use"):
        index.catalog(last="", limit=1)
    postgres_server.sql(f"SELECT pg_cancel_backend(pid) FROM {sleeping}")
    busy.join()
    assert index.catalog(last="", limit=1) == []
    index.close()


def test_event_numbers_rise_and_the_newest_is_known(index: PostgresIndex) -> None:
    index.set_followed(followed=True)
    assert index.newest_event() == 0
    index.write("a", partial(index.put_manifest, "a", NewManifest(digest(1), "x/y", 2), ["t"]))
    assert index.newest_event() == 2
    index.write("", partial(index.drop_events, through=2))
    assert index.newest_event() == 2


def test_a_crash_of_the_server_changes_its_mark(own_server: PostgresServer) -> None:
    index = PostgresIndex(own_server.settings())
    assert index.crash_mark() == ""
    mark = index.write("", index.make_crash_mark)
    assert index.crash_mark() == mark == index.write("", index.make_crash_mark)
    own_server.restart()
    assert index.crash_mark() == mark
    own_server.crash()
    assert index.crash_mark() == ""
    assert index.write("", index.make_crash_mark) != mark
    index.close()


def test_replicas_that_start_at_once_make_one_schema(
    settings: IndexSettings, postgres_server: PostgresServer
) -> None:
    indexes: list[PostgresIndex] = []
    threads = [
        threading.Thread(target=lambda: indexes.append(PostgresIndex(settings))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(indexes) == len(threads)
    for index in indexes:
        link(index, 1)
        index.close()


def test_a_dump_brings_everything_back(
    settings: IndexSettings, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """As docs/registry-postgres.md says: counters, triggers and numbers go on behind it."""
    index = PostgresIndex(settings)
    index.set_followed(followed=True)
    link(index, 1)
    put = partial(index.put_manifest, "a", NewManifest(digest(2), "x/y", 5), ["t"])
    index.write("a", put)
    newest = index.newest_event()
    file = str(tmp_path / "dump")
    dump = [postgres_server.programs / "pg_dump", f"--schema={settings.schema}", "--format=custom"]
    subprocess.run([*dump, f"--file={file}", settings.url], check=True)
    index.write("a", partial(index.delete_manifest, "a", digest(2)))
    index.close()
    restore = [postgres_server.programs / "pg_restore", "--clean", "--if-exists"]
    subprocess.run([*restore, f"--dbname={settings.url}", file], check=True)
    index = PostgresIndex(settings)
    assert index.tags("a", last="", limit=9) == ["t"]
    usage = "SELECT bytes, tags FROM repositories"
    assert index.reader().execute(usage).fetchall() == [(6, 1)]
    assert index.newest_event() == newest
    link(index, 3, "b")
    index.write("a", partial(index.delete_manifest, "a", digest(2)))
    assert index.reader().execute(f"{usage} ORDER BY name").fetchall() == [(1, 0), (3, 0)]
    assert index.reader().execute("SELECT digest FROM garbage").fetchall() == [(digest(2),)]
    index.close()


def test_a_newer_format_is_refused(
    settings: IndexSettings, postgres_server: PostgresServer
) -> None:
    PostgresIndex(settings).close()
    postgres_server.sql(f"UPDATE {settings.schema}.format SET version = 99")
    with pytest.raises(IndexFormatError) as caught:
        PostgresIndex(settings)
    assert "99" in caught.value.what
    assert caught.value.fix


def test_a_schema_grows_when_no_batch_of_an_older_release_is_under_way(
    settings: IndexSettings, index: PostgresIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch looks at the format when it begins, so none may begin before and end after."""
    link(index, 1)
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        index.link_blob("a", digest(2), 2)
        begun.set()
        assert go_on.wait(60)
        index.link_blob("a", digest(3), 3)

    writer = threading.Thread(target=lambda: index.write("a", slowly))
    writer.start()
    assert begun.wait(60)
    newer = (*sqlite_schema.STEPS, "CREATE TABLE later (name TEXT NOT NULL);\n")
    monkeypatch.setattr(sqlite_schema, "STEPS", newer)
    monkeypatch.setattr(sqlite_schema, "VERSION", len(newer))
    opened: list[PostgresIndex] = []
    upgrade = threading.Thread(target=lambda: opened.append(PostgresIndex(settings)))
    upgrade.start()
    upgrade.join(0.3)
    assert upgrade.is_alive()
    go_on.set()
    writer.join(60)
    upgrade.join(60)
    (new,) = opened
    with pytest.raises(OutgrownError) as caught:
        link(index, 4)
    assert refusal_of(caught.value).status == 503  # type: ignore[union-attr]
    assert index.trouble()
    assert new.trouble() == ""
    link(new, 5)
    holders = [bool(index.blob_holders(digest(number), limit=1)) for number in range(1, 6)]
    assert holders == [True, True, True, False, True]
    new.close()


def test_tables_and_columns_are_those_of_sqlite(
    settings: IndexSettings, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    PostgresIndex(settings).close()
    here = postgres_server.sql(
        "SELECT table_name, column_name FROM information_schema.columns"
        f" WHERE table_schema = '{settings.schema}'"
    )
    sqlite = SqliteDatabase(tmp_path)
    there = sqlite.reader().execute(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
    )
    rows = set(there.fetchall())
    sqlite.close()
    own = {"changes", "batches", "crash_mark", "format"}
    assert {row for row in here if row[0] not in own} == rows


@pytest.mark.parametrize(
    ("url", "said", "advice"),
    [
        ("postgresql://lading@127.0.0.1:1/lading", "refused", "start it"),
        ("postgresql://lading@127.0.0.1:{port}/nowhere", "does not exist", "CREATE DATABASE"),
        ("postgresql://nobody@127.0.0.1:{port}/lading", "does not exist", ""),
    ],
)
def test_a_database_that_cannot_be_used(
    postgres_server: PostgresServer, url: str, said: str, advice: str
) -> None:
    settings = postgres_server.settings(url=url.format(port=postgres_server.port), wait=2.0)
    with pytest.raises(RegistryStartError) as caught:
        PostgresIndex(settings)
    assert said in caught.value.what
    assert advice in str(caught.value.fix)


def test_a_wrong_password_is_told_and_not_shown(own_server: PostgresServer, tmp_path: Path) -> None:
    role = f"careful_{secrets.token_hex(4)}"
    own_server.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    access = own_server.folder / "data" / "pg_hba.conf"
    access.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n" + access.read_text())
    before = own_server.sql("SELECT pg_conf_load_time()")
    own_server.sql("SELECT pg_reload_conf()")
    # It is only told to; connections that are made before it did are as free as ever.
    eventually(lambda: own_server.sql("SELECT pg_conf_load_time()") != before)
    file = tmp_path / "url"
    url = f"postgresql://{role}:{{}}@127.0.0.1:{own_server.port}/lading"
    file.write_text(url.format("wrong-secret"))
    settings = own_server.settings(url_file=file)
    with pytest.raises(RegistryStartError) as caught:
        PostgresIndex(settings)
    assert "password authentication failed" in caught.value.what
    assert "wrong-secret" not in f"{caught.value!r} {caught.value} {caught.value.fix}"
    file.write_text(url.format("right") + "\n")
    with pytest.raises(RegistryStartError) as caught:
        PostgresIndex(settings)
    assert "permission denied" in caught.value.what
    assert "owner" in str(caught.value.fix)
    own_server.sql(f"GRANT CREATE ON DATABASE lading TO {role}")
    PostgresIndex(settings).close()
    file.write_text(f"postgresql://{role}:hidden@[")
    with pytest.raises(RegistryStartError) as caught:
        PostgresIndex(settings)
    assert "hidden" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_texts_that_are_not_utf8_are_refused(postgres_server: PostgresServer) -> None:
    postgres_server.sql("DROP DATABASE IF EXISTS latin")
    postgres_server.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    url = f"postgresql://lading@127.0.0.1:{postgres_server.port}/latin"
    with pytest.raises(RegistryStartError, match="LATIN1"):
        PostgresIndex(postgres_server.settings(url=url))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('lading')").fetchone() == (None,)
