"""Copies of stores that are being written to, and stores made from them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

from lading.cli import run_command
from registry.collection.collector import only_one
from registry.errors import BackupError, CollectionBusyError
from registry.keeping.backup import CopyReport, back_up, restore
from registry.storage import FileStorage
from tests.registry.kit import digest_of, manifest
from tests.registry.service_kit import Service, call, service

OCI = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
FEATURES = """
[countersign]
repositories = ["**"]
name = "r.example"
[transparency]
enabled = true
"""


def save(store: Path, copy: Path) -> CopyReport:
    return back_up(store, FileStorage(store), copy)


def bring_back(copy: Path, store: Path) -> CopyReport:
    return restore(copy, store, partial(FileStorage, store))


def push(found: Service, repository: str, tag: str, layer: bytes) -> None:
    for data in (b"{}", layer):
        path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}"
        assert call(found.port, "POST", path, data)[0] == 201
    path = f"/v2/{repository}/manifests/{tag}"
    assert call(found.port, "PUT", path, manifest(layers=[layer]), OCI)[0] == 201


def served(folder: Path, *paths: str, config: str = "") -> list[tuple[int, bytes]]:
    with service(folder, config) as found:
        answers = [call(found.port, "GET", path) for path in paths]
    return [(status, body) for status, _, body in answers]


def test_a_copy_of_a_busy_store_is_whole(tmp_path: Path) -> None:
    """What was answered before the copy began is in it; what is in it can be pulled."""
    copy, second = tmp_path / "copy", tmp_path / "second"
    second.mkdir()
    stop = threading.Event()
    done: list[int] = []
    with service(tmp_path, FEATURES) as found:
        push(found, "a", "first", b"1" * 5000)

        def go_on() -> None:
            while not stop.is_set():
                push(found, "busy", f"t{len(done)}", os.urandom(2000))
                done.append(1)

        pusher = threading.Thread(target=go_on)
        pusher.start()
        reports = [save(tmp_path / "store", copy) for _ in range(5)]
        before = len(done)
        reports.append(save(tmp_path / "store", copy))
        stop.set()
        pusher.join()
    assert all(report.missing == () for report in reports)
    assert reports[-1].copied < reports[-1].blobs
    restored = bring_back(copy, second / "store")
    assert restored.missing == ()
    wanted = ["/v2/a/manifests/first", f"/v2/a/blobs/{digest_of(b'1' * 5000)}"]
    wanted += [f"/v2/busy/manifests/t{number}" for number in range(before)]
    assert {status for status, _ in served(second, *wanted, config=FEATURES)} == {200}
    store = str(second / "store")
    assert run_command(["registry", "check", "--storage", store]) == 0
    assert run_command(["registry", "rebuild-index", "--storage", store]) == 0
    assert {status for status, _ in served(second, *wanted, config=FEATURES)} == {200}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with service(tmp_path) as found:
        push(found, "a", "1", b"layer" * 100)
    return tmp_path / "store"


def test_a_copy_that_was_broken_off_leaves_the_last_one(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    save(store, copy)
    (copy / "state.new").mkdir()
    (copy / "state.new/index.db").write_text("half")
    (copy / "state").rename(copy / "state.old")
    bring_back(copy, tmp_path / "again/store")
    assert served(tmp_path / "again", "/v2/a/manifests/1")[0][0] == 200
    save(store, copy)
    assert sorted(path.name for path in copy.iterdir()) == ["blobs", "state"]


def test_damage_is_told_and_not_copied(
    store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blob = store / "blobs/sha256" / digest_of(b"layer" * 100)[7:]
    blob.chmod(0o600)
    blob.write_bytes(b"other" * 100)
    copy = tmp_path / "copy"
    line = ["registry", "backup", "--storage", str(store), "--format", "json", str(copy)]
    assert run_command(line) == 1
    said = json.loads(capfd.readouterr().out)
    assert [text.split(": ")[0] for text in said["missing"]] == [digest_of(b"layer" * 100)]
    assert not (copy / "blobs/sha256" / blob.name).exists()


def test_no_copy_while_bytes_are_being_removed(store: Path, tmp_path: Path) -> None:
    with only_one(store / "collection.lock"), pytest.raises(CollectionBusyError):
        save(store, tmp_path / "copy")


def test_places_that_cannot_be(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="inside the store"):
        save(store, store / "copy")
    with pytest.raises(BackupError, match="no finished copy"):
        bring_back(store, tmp_path / "new")
    save(store, tmp_path / "copy")
    with pytest.raises(BackupError, match="something already"):
        bring_back(tmp_path / "copy", store)
    shutil.rmtree(store)
    bring_back(tmp_path / "copy", store)
    assert served(tmp_path, "/v2/a/manifests/1")[0][0] == 200
