"""The index: order, paging, transactions, and what every connection sees."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry import schema
from registry.errors import IndexFormatError, MissingContentError, WrongSizeError
from registry.index import SqlIndex, SqliteIndex, Write
from registry.records import BlobLink, ManifestRow, NewManifest, UploadRow
from tests.registry.store_kit import open_index

BLOB = "sha256:" + "b" * 64
TYPE = "application/vnd.oci.image.manifest.v1+json"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def index(tmp_path: Path, clock: Clock) -> Iterator[SqlIndex]:
    index = open_index(tmp_path, clock=clock)
    yield index
    index.close()


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def put(index: SqlIndex, name: str, number: int, *tags: str, **fields: object) -> str:
    manifest = NewManifest(digest(number), TYPE, 7, **fields)  # type: ignore[arg-type]
    index.write(name, partial(index.put_manifest, name, manifest, tags))
    return digest(number)


def test_names_list_in_byte_order(index: SqlIndex) -> None:
    """Names that prefix one another are not lost: `a`, `a-b`, `a/b` (others dropped some)."""
    names = ["a", "a-b", "a/b", "a/b/c", "a0", "ab", "b"]
    for name in reversed(names):
        index.write(name, partial(index.link_blob, name, BLOB, 1))
    assert index.catalog(last="", limit=100) == sorted(names) == names
    walked: list[str] = []
    while page := index.catalog(last=walked[-1] if walked else "", limit=2):
        walked += page
    assert walked == names


def test_tags_list_in_byte_order(index: SqlIndex) -> None:
    tags = ["1", "10", "2", "A", "_x", "a", "a-b", "a.b", "latest"]
    put(index, "r", 1, *reversed(tags))
    assert index.tags("r", last="", limit=100) == sorted(tags)
    assert index.tags("r", last="A", limit=2) == ["_x", "a"]
    assert index.tags("r", last="zzz", limit=2) == []
    assert index.tags("unknown", last="", limit=2) is None


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM tags WHERE repository = 1 AND name > 'x' ORDER BY name LIMIT 10",
        "SELECT name FROM repositories WHERE name > 'x' ORDER BY name LIMIT 10",
        "SELECT digest FROM referrers WHERE repository = 1 AND subject = 's'"
        " AND digest > '' ORDER BY digest LIMIT 10",
        "SELECT digest FROM referrers WHERE repository = 1 AND subject = 's'"
        " AND artifact_type = 't' AND digest > '' ORDER BY digest LIMIT 10",
        "SELECT id FROM uploads WHERE created < 5 ORDER BY created LIMIT 10",
        "SELECT 1 FROM blob_links WHERE digest = 'd' LIMIT 10",
    ],
)
def test_pages_come_from_an_index(index: SqlIndex, tmp_path: Path, query: str) -> None:
    """O(page): SQLite neither scans a table nor sorts."""
    connection = sqlite3.connect(tmp_path / "index.db")
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
    connection.close()
    assert "SEARCH" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_links_belong_to_repositories(index: SqlIndex) -> None:
    index.write("a", partial(index.link_blob, "a", BLOB, 5))
    assert index.blob("a", BLOB) == BlobLink(BLOB, 5)
    assert index.blob("b", BLOB) is None
    assert index.write("b", partial(index.mount_blob, "a", "b", BLOB))
    assert not index.write("b", partial(index.mount_blob, "c", "b", BLOB))
    assert sorted(index.blob_holders(BLOB, limit=9)) == ["a", "b"]
    assert index.write("a", partial(index.unlink_blob, "a", BLOB))
    assert not index.write("a", partial(index.unlink_blob, "a", BLOB))
    assert (index.blob("a", BLOB), index.blob("b", BLOB)) == (None, BlobLink(BLOB, 5))


def test_a_failed_mount_makes_no_repository(index: SqlIndex) -> None:
    index.write("b", partial(index.mount_blob, "a", "b", BLOB))
    assert not index.has_repository("b")


def test_manifests_need_their_content(index: SqlIndex) -> None:
    manifest = NewManifest(digest(1), TYPE, 7, blobs=((BLOB, 5), (digest(9), 1)))
    with pytest.raises(MissingContentError) as caught:
        index.write("a", partial(index.put_manifest, "a", manifest, ["t"]))
    assert caught.value.digests == (BLOB, digest(9))
    assert not index.has_repository("a"), "the failed write left nothing"
    index.write("a", partial(index.put_manifest, "a", manifest, ["t"], sparse=True))
    assert index.tagged_manifest("a", "t") == ManifestRow(digest(1), TYPE, 7)


def test_stated_sizes_must_be_true(index: SqlIndex) -> None:
    index.write("a", partial(index.link_blob, "a", BLOB, 5))
    manifest = NewManifest(digest(1), TYPE, 7, blobs=((BLOB, 6),))
    with pytest.raises(WrongSizeError) as caught:
        index.write("a", partial(index.put_manifest, "a", manifest, [], sparse=True))
    assert caught.value.digest == BLOB


def test_tags_move_and_are_remembered(index: SqlIndex, clock: Clock) -> None:
    for number in (1, 1, 2):
        clock.now += 1
        put(index, "a", number, "t")
    index.write("a", partial(index.delete_tag, "a", "t"))
    put(index, "a", 3, "t")
    index.write("a", partial(index.delete_manifest, "a", digest(3)))
    events = index.tag_history("a", "t", limit=9)
    assert [event.digest for event in events] == [None, digest(3), None, digest(2), digest(1)]
    assert [event.moment for event in events] == [1003, 1003, 1003, 1003, 1001]
    assert len(index.tag_history("a", "t", limit=2)) == 2


def test_deleting_a_manifest(index: SqlIndex) -> None:
    put(index, "a", 1, "x", "y", subject=digest(5), referrer=b"{}")
    put(index, "a", 2, "z")
    assert index.write("a", partial(index.delete_manifest, "a", digest(1)))
    assert not index.write("a", partial(index.delete_manifest, "a", digest(1)))
    assert not index.write("n", partial(index.delete_manifest, "n", digest(1)))
    assert index.tags("a", last="", limit=9) == ["z"]
    assert index.referrers("a", digest(5), artifact_type=None, last="", limit=9) == []
    assert index.manifest("a", digest(1)) is None


def test_referrers(index: SqlIndex) -> None:
    for number, kind in ((3, "x"), (1, "y"), (2, "x")):
        row = f'{{"n":{number}}}'.encode()
        put(index, "a", number, subject=digest(9), artifact_type=kind, referrer=row)
    every = index.referrers("a", digest(9), artifact_type=None, last="", limit=9)
    assert [row for _, row in every] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
    only = index.referrers("a", digest(9), artifact_type="x", last=digest(2), limit=9)
    assert [row for _, row in only] == [b'{"n":3}']


def test_uploads(index: SqlIndex, clock: Clock) -> None:
    for number in range(3):
        row = UploadRow(f"u{number}", "a", "sha512")
        index.write("a", partial(index.create_upload, row), durable=False)
        clock.now += 10
    assert index.upload("u1") == UploadRow("u1", "a", "sha512")
    assert index.upload("none") is None
    assert [row.id for row in index.old_uploads(before=1015, limit=9)] == ["u0", "u1"]
    assert index.write("a", partial(index.delete_upload, "u0"))
    assert not index.write("a", partial(index.delete_upload, "u0"))


def test_one_bad_write_does_not_spoil_its_batch(index: SqlIndex) -> None:
    def fail() -> None:
        index.link_blob("a", digest(7), 1)
        raise ValueError("no")

    good = [Write("a", partial(index.link_blob, "a", digest(n), n)) for n in (1, 2)]
    bad = Write("a", fail)
    index.apply([good[0], bad, good[1]])
    assert isinstance(bad.error, ValueError)
    assert all(write.error is None for write in good)
    assert index.blob("a", digest(7)) is None
    assert index.blob("a", digest(2)) == BlobLink(digest(2), 2)


def test_a_failed_commit_fails_every_write(index: SqlIndex, tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    index.writer.execute("PRAGMA busy_timeout = 10")
    blocker.execute("BEGIN IMMEDIATE")
    writes = [Write("a", partial(index.link_blob, "a", digest(n), n)) for n in (1, 2)]
    before = index.generations.current("a")
    index.apply(writes)
    assert all(isinstance(w.error, sqlite3.OperationalError) for w in writes)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert index.blob("a", digest(1)) is None
    assert index.generations.current("a") == before
    index.write("a", writes[0].operation)
    assert index.blob("a", digest(1)) == BlobLink(digest(1), 1)


def test_writes_change_the_generation(index: SqlIndex) -> None:
    before = index.generations.current("a")
    index.write("a", partial(index.link_blob, "a", BLOB, 5))
    after = index.generations.current("a")
    assert after != before
    assert after % 2 == 0


def test_the_store_reopens(tmp_path: Path) -> None:
    first = open_index(tmp_path)
    put(first, "a", 1, "t")
    first.close()
    second = open_index(tmp_path)
    assert second.tags("a", last="", limit=9) == ["t"]
    second.close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "index.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(IndexFormatError) as caught:
        SqliteIndex(tmp_path)
    assert "99" in caught.value.what
    assert caught.value.fix


def test_a_store_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its leases begin where its content was pushed, and its usage is counted."""
    connection = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    connection.executescript(schema.STEPS[0])
    connection.executescript(
        "INSERT INTO repositories VALUES (1, 'a', 5);"
        f"INSERT INTO blob_links VALUES (1, '{BLOB}', 7, 99);"
        f"INSERT INTO manifests VALUES (1, '{digest(1)}', '{TYPE}', 3, NULL, 50);"
        f"INSERT INTO tags VALUES (1, 't', '{digest(1)}', 50);"
        "PRAGMA user_version = 1;"
    )
    connection.close()
    index = SqliteIndex(tmp_path)
    link, row = index.blob("a", BLOB), index.tagged_manifest("a", "t")
    assert link is not None
    assert row is not None
    assert (link.leased, row.leased) == (99, 50)
    usage = "SELECT bytes, tags FROM repositories"
    assert index.reader().execute(usage).fetchall() == [(10, 1)]
    index.write("a", partial(index.delete_manifest, "a", digest(1)))
    assert index.reader().execute(usage).fetchall() == [(7, 0)]
    assert index.tag_history("a", "t", limit=1)[0].previous == digest(1)
    index.close()
