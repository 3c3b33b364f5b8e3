"""Copies of a store whose blobs are in a bucket, their way back, and an index made anew."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.registry import kit
from tests.registry.s3.kit import Server, lading
from tests.registry.service_kit import call, service

pytestmark = pytest.mark.peer

PATHS = ("/v2/a/manifests/1", f"/v2/a/blobs/{kit.digest_of(b'layer')}")


def answers(server: Server, folder: Path, config: str) -> list[int]:
    with service(folder, config, environment=server.environment, workers=1) as served:
        return [call(served.port, "GET", path)[0] for path in PATHS]


def document(server: Server, *arguments: str | Path) -> dict[str, object]:
    status, said = lading(server, *arguments, "--format", "json")
    assert status == 0, said
    found: dict[str, object] = json.loads(said)
    return found


def names(server: Server, prefix: str) -> list[str]:
    found = server.client.list_objects_v2(Bucket=server.bucket, Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", ())]


def new_store(server: Server, folder: Path, prefix: str) -> tuple[Path, str]:
    """The configuration of a store that is not there yet, and its ``[storage]``."""
    folder.mkdir()
    config = server.settings(prefix)
    file = folder / "registry.toml"
    file.write_text(f'root = "{folder}/store"\n{config}')
    return file, config


def test_a_copy_has_the_objects_and_becomes_another_store(
    used: Path, s3_server: Server, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    first = document(s3_server, "backup", "-c", used, copy)
    assert (first["blobs"], first["copied"], first["missing"]) == (3, 3, [])
    assert document(s3_server, "backup", "-c", used, copy)["copied"] == 0

    other = f"{tmp_path.name}-other/"
    file, config = new_store(s3_server, tmp_path / "bucket", other)
    assert document(s3_server, "restore", "-c", file, copy)["copied"] == 3
    assert len(names(s3_server, f"{other}blobs/")) == 3
    assert lading(s3_server, "check", "-c", file)[0] == 0
    assert answers(s3_server, tmp_path / "bucket", config) == [200, 200]

    files = tmp_path / "files"
    files.mkdir()
    assert document(s3_server, "restore", "--storage", files / "store", copy)["copied"] == 3
    assert lading(s3_server, "check", "--storage", files / "store")[0] == 0
    assert answers(s3_server, files, "") == [200, 200]
    document(s3_server, "backup", "--storage", files / "store", tmp_path / "copy-of-files")
    back, _ = new_store(s3_server, tmp_path / "back", f"{tmp_path.name}-back/")
    restored = document(s3_server, "restore", "-c", back, tmp_path / "copy-of-files")
    assert restored["copied"] == 3
    assert lading(s3_server, "check", "-c", back)[0] == 0


def test_a_copy_of_the_index_alone(used: Path, s3_server: Server, tmp_path: Path) -> None:
    copy, prefix = tmp_path / "copy", f"{tmp_path.name}/"
    report = document(s3_server, "backup", "-c", used, "--index-only", copy)
    assert (report["blobs"], report["copied"]) == (3, 0)
    assert not (copy / "blobs").exists()
    file, config = new_store(s3_server, tmp_path / "again", prefix)
    assert document(s3_server, "restore", "-c", file, copy)["missing"] == []
    assert answers(s3_server, tmp_path / "again", config) == [200, 200]

    status, said = lading(s3_server, "restore", "--storage", tmp_path / "files", copy)
    assert status != 0
    assert f"its blobs are in the bucket {s3_server.bucket}/{prefix}" in said
    # A bucket that kept nothing is found out.
    gone = next(name for name in names(s3_server, f"{prefix}blobs/"))
    s3_server.client.delete_object(Bucket=s3_server.bucket, Key=gone)
    file, _ = new_store(s3_server, tmp_path / "third", prefix)
    status, said = lading(s3_server, "restore", "-c", file, copy)
    assert (status, said.count("no such object")) == (1, 1), said


def test_places_that_cannot_be(used: Path, s3_server: Server, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    document(s3_server, "backup", "-c", used, copy)
    file, _ = new_store(s3_server, tmp_path / "again", f"{tmp_path.name}/")
    status, said = lading(s3_server, "restore", "-c", file, copy)
    assert status != 0
    assert "there is something already" in said
    assert not (tmp_path / "again/store/index.db").exists()
    status, said = lading(s3_server, "restore", copy)
    assert (status, "--storage" in said) == (125, True), said
    document(s3_server, "restore", "--storage", tmp_path / "files", copy)
    line = ("backup", "--storage", tmp_path / "files", "--index-only", tmp_path / "x")
    status, said = lading(s3_server, *line)
    assert status != 0
    assert "keeps versions" in said


def test_an_index_is_made_anew_from_journal_and_bucket(
    used: Path, s3_server: Server, tmp_path: Path
) -> None:
    config, root = s3_server.settings(f"{tmp_path.name}/"), tmp_path / "store"
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (root / name).unlink(missing_ok=True)
    report = document(s3_server, "rebuild-index", "-c", used)
    assert [report[name] for name in ("repositories", "manifests", "tags", "blobs")] == [1, 1, 1, 2]
    assert answers(s3_server, tmp_path, config) == [200, 200]
    assert lading(s3_server, "check", "-c", used)[0] == 0
    # Nothing of it is a leftover to a collection.
    document(s3_server, "gc", "-c", used, "--lease", "0")
    assert len(names(s3_server, f"{tmp_path.name}/blobs/")) == 3
    assert answers(s3_server, tmp_path, config) == [200, 200]


def test_an_index_that_must_not_be_replaced(used: Path, s3_server: Server, tmp_path: Path) -> None:
    root = tmp_path / "store"
    status, said = lading(s3_server, "rebuild-index", "--storage", root)
    assert status != 0  # without its [storage] it looks like no store at all
    (root / "blobs").mkdir()
    status, said = lading(s3_server, "rebuild-index", "--storage", root)
    assert status != 0
    assert f"are in {s3_server.bucket}/{tmp_path.name}/, not in files" in said
    with closing(sqlite3.connect(root / "index.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (root / "index.db").read_bytes()
    status, said = lading(s3_server, "rebuild-index", "-c", used)
    assert status != 0
    assert "the index has format 99" in said
    assert (root / "index.db").read_bytes() == before
