"""Check, scrub and rebuild: each kind of damage is named, and nothing else is."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lading.app import App
from lading.commands.registry import registry
from registry.errors import StoreBusyError
from registry.inspection.check import Finding, Severity
from registry.inspection.check import check as run_check
from registry.inspection.rebuild import rebuild
from registry.inspection.scrub import scrub
from registry.storage import FileStorage
from tests.registry import kit
from tests.registry.kit import digest_of
from tests.registry.store_kit import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    child = store.push_image("a", "1", layers=[b"layer"])
    top = kit.index([child])
    store.push_manifest("a", top, "top")
    store.push_manifest("a", kit.manifest(subject=kit.descriptor(top, kit.OCI_INDEX)))
    yield store
    store.close()


def check(store: Store) -> list[Finding]:
    return list(run_check(store.root, store.index, store.storage, sleep=lambda _: None))


def codes(store: Store) -> set[str]:
    return {finding.code for finding in check(store)}


def blob_path(store: Store, data: bytes) -> Path:
    return store.root / "blobs" / "sha256" / digest_of(data).removeprefix("sha256:")


def execute(store: Store, sql: str) -> None:
    store.index.writer.execute(sql)


def test_a_whole_store_is_clean(store: Store) -> None:
    assert check(store) == []


def test_bytes_that_are_missing_or_cut(store: Store) -> None:
    blob_path(store, b"layer").write_bytes(b"lay")
    (cut,) = check(store)
    assert (cut.code, cut.where) == ("blob-size", f"a@{digest_of(b'layer')}")
    blob_path(store, b"layer").unlink()
    (missing,) = check(store)
    assert (missing.code, missing.severity) == ("blob-missing", Severity.PROBLEM)
    assert missing.fix


def test_a_damaged_manifest(store: Store) -> None:
    raw = kit.manifest(layers=[b"layer"])
    path = blob_path(store, raw)
    path.write_bytes(raw.replace(b"schemaVersion", b"schemaversion"))
    assert codes(store) == {"manifest-damaged"}
    path.unlink()
    assert codes(store) == {"manifest-missing"}


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("DELETE FROM manifest_references", "references-differ"),
        ("DELETE FROM referrers", "referrer-missing"),
        ("UPDATE manifests SET subject = 'x' WHERE subject IS NOT NULL", "subject-differs"),
        ("DELETE FROM blob_links WHERE size = 5", "content-missing"),
        ("UPDATE tags SET digest = 'sha256:0'", "tags-dangle"),
        ("UPDATE referrers SET digest = 'sha256:0'", "referrers-dangle"),
        ("UPDATE repositories SET bytes = bytes + 1", "usage-differs"),
        ("UPDATE repositories SET tags = 9", "usage-differs"),
    ],
)
def test_rows_that_do_not_fit(store: Store, sql: str, code: str) -> None:
    execute(store, sql)
    assert code in codes(store)


def test_what_a_collection_will_mend_is_a_remark(store: Store) -> None:
    orphan = store.root / "blobs" / "sha256" / ("a" * 64)
    orphan.write_bytes(b"x")
    (store.root / "blobs" / "sha256" / "stage-7").write_bytes(b"half")
    found = {finding.code: finding.severity for finding in check(store)}
    assert found == {"unreferenced": Severity.REMARK, "not-a-blob": Severity.PROBLEM}


def test_a_write_between_two_looks_is_no_finding(store: Store) -> None:
    path = blob_path(store, b"layer")
    path.rename(store.root / "away")

    def come_back(_: float) -> None:
        (store.root / "away").rename(path)

    assert not list(run_check(store.root, store.index, store.storage, sleep=come_back))


def test_scrub_finds_rot_and_goes_on_where_it_ended(store: Store) -> None:
    blob_path(store, b"layer").write_bytes(b"rotten"[:5])
    found: list[str] = []
    reports = []
    while not reports or not reports[-1].finished:
        reports.append(scrub(store.root, store.index, store.storage, budget=0, found=found.append))
    assert len(reports) == 1 + len(os.listdir(store.root / "blobs" / "sha256"))
    assert found == [digest_of(b"layer")]
    whole = scrub(store.root, store.index, store.storage)
    assert (whole.blobs, whole.damaged) == (len(reports) - 1, (digest_of(b"layer"),))
    assert store.has("a", digest_of(b"layer")), "nothing is touched unless asked"


def test_scrub_keeps_its_rate(store: Store) -> None:
    slept: list[float] = []
    scrub(store.root, store.index, store.storage, rate=10, sleep=slept.append)
    assert sum(slept) > 10


def test_quarantine_lets_a_push_heal(store: Store) -> None:
    blob_path(store, b"layer").write_bytes(b"rotten"[:5])
    assert scrub(store.root, store.index, store.storage, quarantine=True).quarantined
    assert not store.has("a", digest_of(b"layer"))
    assert len(os.listdir(store.root / "quarantine")) == 1
    store.push_blob("a", b"layer")
    assert check(store) == []
    assert not scrub(store.root, store.index, store.storage).damaged


def rows(root: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(root / "index.db")
    queries = {
        "manifests": "SELECT r.name, m.digest, m.media_type, m.size, m.subject FROM manifests m"
        " JOIN repositories r ON r.id = m.repository",
        "tags": "SELECT r.name, t.name, t.digest FROM tags t JOIN repositories r"
        " ON r.id = t.repository",
        "blobs": "SELECT r.name, b.digest, b.size FROM blob_links b JOIN repositories r"
        " ON r.id = b.repository",
        "references": "SELECT r.name, x.manifest, x.target FROM manifest_references x"
        " JOIN repositories r ON r.id = x.repository",
        "referrers": "SELECT subject, digest, artifact_type, descriptor FROM referrers",
        "usage": "SELECT name, bytes, tags FROM repositories",
    }
    found = {name: sorted(connection.execute(sql)) for name, sql in queries.items()}
    connection.close()
    return found


def test_rebuild_restores_every_row_that_a_manifest_explains(store: Store) -> None:
    store.push_image("b/c", "x", "y", layers=[b"layer"])
    store.delete_tag("b/c", "y")
    again = store.push_image("gone", "t")
    store.delete("gone", digest_of(again))
    store.push_image("gone", layers=[])
    store.close()
    before = rows(store.root)
    os.unlink(store.root / "index.db")
    report = rebuild(store.root, store.storage)
    assert rows(store.root) == before, "a tag does not come back with its manifest"
    assert (report.manifests, report.tags, report.lost_manifests) == (5, 3, ())
    again = rebuild(store.root, store.storage, clock=lambda: 1.0)
    assert rows(store.root) == before
    assert again.tags == 3


def test_rebuild_says_what_is_lost(store: Store) -> None:
    store.close()
    blob_path(store, kit.manifest(layers=[b"layer"])).unlink()
    report = rebuild(store.root, store.storage)
    assert report.lost_manifests == (f"a@{digest_of(kit.manifest(layers=[b'layer']))}",)
    assert report.tags == 1


def test_rebuild_gathers_what_no_journal_knows(store: Store) -> None:
    store.close()
    for path in (store.root / "journal").iterdir():
        path.unlink()
    assert rebuild(store.root, store.storage).unnamed_manifests == 3
    report = rebuild(store.root, store.storage, gather="found", clock=lambda: 2.0)
    assert (report.manifests, report.repositories) == (3, 1)


def test_rebuild_needs_the_store_alone(store: Store) -> None:
    with pytest.raises(StoreBusyError):
        rebuild(store.root, store.storage)


def test_the_journal_is_rebased_by_a_collection(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.collection.journal_base._WORTHWHILE", 0)
    store.collect()
    store.push_image("later", "1")
    names = sorted(os.listdir(store.root / "journal"))
    assert names == ["00000002.base", "00000002.log"]
    store.close()
    before = rows(store.root)
    rebuild(store.root, store.storage)
    assert rows(store.root) == before


def test_a_write_that_fails_leaves_no_line(store: Store) -> None:
    size = store.index.journal.size()

    def fail() -> None:
        store.index.delete_tag("a", "1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.index.write("a", fail)
    store.push_blob("a", b"no name")
    assert store.index.journal.size() == size


def command(*arguments: str, root: Path) -> tuple[int, str]:
    app = App.create(root=str(root), config=None, debug=False)
    line = [*arguments, "--storage", str(root)]
    result = CliRunner().invoke(registry, line, obj=app, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value or 0, result.stdout


def test_commands(store: Store) -> None:
    root = store.root
    assert isinstance(store.storage, FileStorage)
    status, text = command("gc", "--lease", "0s", "--format", "json", root=root)
    assert (status, json.loads(text)["finished"]) == (0, True)
    status, text = command("scrub", "--format", "json", root=root)
    assert (status, json.loads(text)["damaged"]) == (0, [])
    assert command("check", root=root)[0] == 0
    status, text = command("tags", "history", "a:1", "--format", "json", root=root)
    assert [row["previous"] for row in json.loads(text)] == [None]
    blob_path(store, b"layer").unlink()
    status, text = command("check", "--format", "json", root=root)
    assert (status, json.loads(text)["clean"]) == (1, False)
