"""Stores that earlier versions wrote are opened, mended and served; those of later ones refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from registry import schema
from tests.registry.service_kit import PROJECT, call, service
from tests.waiting import eventually

FORMATS = PROJECT / "fixtures" / "registry" / "formats"
WRITTEN = {1: "95fd09506839eae4b69a87c813a22d9d", 4: "86a02f6c85b49ce768ead838c1ec40ec"}
"""Formats of which there is a store, each with its upload."""
LAYERS = (b"the first layer\n", b"the second layer\n")
HALF = b"half of"


def old_store(root: Path, number: int) -> Path:
    """What a version with that format left behind when it was stopped."""
    shutil.copytree(FORMATS / "blobs", root / "blobs" / "sha256")
    (root / "uploads").mkdir()
    (root / "uploads" / WRITTEN[number]).write_bytes(HALF)
    with closing(sqlite3.connect(root / "index.db")) as index:
        index.execute("PRAGMA journal_mode = WAL")
        index.executescript((FORMATS / f"format-{number}.sql").read_text())
    return root


def format_of(root: Path) -> int:
    with closing(sqlite3.connect(root / "index.db")) as index:
        (number,) = index.execute("PRAGMA user_version").fetchone()
    return int(number)


def lading(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lading", "registry", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def document(port: int, path: str) -> dict[str, object]:
    status, _, body = call(port, "GET", path)
    assert status == 200, (path, body)
    return dict(json.loads(body))


@pytest.mark.parametrize("number", sorted(WRITTEN))
def test_all_that_an_old_store_has_is_served(tmp_path: Path, number: int) -> None:
    root = old_store(tmp_path / "store", number)
    assert format_of(root) == number < schema.VERSION
    with service(tmp_path) as served:
        port = served.port
        assert document(port, "/v2/_catalog") == {"repositories": ["team/app", "team/other"]}
        tags = document(port, "/v2/team/app/tags/list")
        assert tags == {"name": "team/app", "tags": ["1", "all", "latest"]}
        for layer in LAYERS:
            digest = hashlib.sha256(layer).hexdigest()
            assert call(port, "GET", f"/v2/team/app/blobs/sha256:{digest}")[2] == layer
        assert call(port, "GET", f"/v2/team/other/blobs/sha256:{digest}")[0] == 404
        _, headers, _ = call(port, "GET", "/v2/team/app/manifests/latest")
        latest = headers["Docker-Content-Digest"]
        (referrer,) = document(port, f"/v2/team/app/referrers/{latest}")["manifests"]
        assert referrer["artifactType"] == "application/vnd.example.sbom"
        signed = document(port, f"/extensions/v2/team/app/signatures/{latest}")["signatures"]
        assert len(signed) == (1 if number >= 4 else 0)
        assert call(port, "GET", "/v2/team/app/manifests/all")[0] == 200
    assert format_of(root) == schema.VERSION


@pytest.mark.parametrize("number", sorted(WRITTEN))
def test_an_upload_goes_on_after_the_upgrade(tmp_path: Path, number: int) -> None:
    old_store(tmp_path / "store", number)
    # The fixture's upload was begun long ago; here it was a moment before the upgrade.
    with service(tmp_path, "limits.upload_expiry = '36500d'") as served:
        place = f"/v2/team/app/blobs/uploads/{WRITTEN[number]}"
        status, headers, _ = call(served.port, "GET", place)
        assert (status, headers["Range"]) == (204, "0-6")
        whole = HALF + b" it"
        digest = hashlib.sha256(whole).hexdigest()
        assert call(served.port, "PUT", f"{place}?digest=sha256:{digest}", b" it")[0] == 201
        assert call(served.port, "GET", f"/v2/team/app/blobs/sha256:{digest}")[2] == whole


@pytest.mark.parametrize("number", sorted(WRITTEN))
def test_an_upgraded_store_is_whole(tmp_path: Path, number: int) -> None:
    """Nothing is missing, and nothing that is needed goes with the first collection."""
    root = old_store(tmp_path / "store", number)
    checked = lading("check", "--storage", root)
    assert checked.returncode == 0, checked.stdout
    gone = lading("gc", "--storage", root, "--lease", "0s")
    assert gone.returncode == 0, gone.stderr
    assert lading("check", "--storage", root).returncode == 0
    history = lading("tags", "history", "--storage", root, "team/app:latest")
    assert len(history.stdout.splitlines()) >= 2


@pytest.mark.parametrize("number", sorted(WRITTEN))
def test_a_fresh_index_and_an_upgraded_one_are_the_same(tmp_path: Path, number: int) -> None:
    def shape(path: Path) -> set[tuple[str, str]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as index:
            schema.migrate(index, where="here")
            objects = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            return {(name, " ".join(sql.split())) for name, sql in index.execute(objects)}

    old = old_store(tmp_path / "store", number)
    assert shape(old / "index.db") == shape(tmp_path / "fresh.db")


def test_a_failed_upgrade_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = old_store(tmp_path / "store", 1)
    broken = (*schema.STEPS[:-1], schema.STEPS[-1] + "INSERT INTO nowhere VALUES (1);\n")
    monkeypatch.setattr(schema, "STEPS", broken)
    before = (FORMATS / "format-1.sql").read_text()
    with closing(sqlite3.connect(root / "index.db", isolation_level=None)) as index:
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(index, where="here")
        after = "\n".join(index.iterdump())
    assert after in before
    assert format_of(root) == 1


@pytest.mark.parametrize("command", ["serve", "check", "gc", "tags"])
def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path, command: str) -> None:
    root = old_store(tmp_path / "store", 1)
    newer = schema.VERSION + 1
    with closing(sqlite3.connect(root / "index.db")) as index:
        index.execute(f"PRAGMA user_version = {newer}")
    more = {"serve": ("--addr", "127.0.0.1:0"), "tags": ("history", "team/app:1")}
    done = lading(command, *more.get(command, ()), "--storage", root)
    assert done.returncode != 0
    assert f"the index has format {newer}, this registry reads up to" in done.stderr
    assert "restore" in done.stderr
    assert format_of(root) == newer


def test_a_server_writes_nothing_behind_a_newer_release(tmp_path: Path) -> None:
    """One whose index a newer release opened meanwhile, such as a collection by cron."""
    with service(tmp_path, workers=1) as served:
        data = b"before"
        path = "/v2/a/blobs/uploads/?digest=sha256:"
        known = hashlib.sha256(data).hexdigest()
        assert call(served.port, "POST", path + known, data)[0] == 201
        with closing(sqlite3.connect(tmp_path / "store" / "index.db")) as index:
            index.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        data = b"after"
        late = hashlib.sha256(data).hexdigest()
        status, headers, body = call(served.port, "POST", path + late, data)
        assert (status, headers["Retry-After"]) == (503, "5"), body
        assert call(served.port, "GET", f"/v2/a/blobs/sha256:{known}")[2] == b"before"
        assert call(served.port, "GET", f"/v2/a/blobs/sha256:{late}")[0] == 404
        said = f"format {schema.VERSION + 1}, this process writes"
        eventually(lambda: said in served.logged())
        assert "Traceback" not in served.logged()


def test_a_released_step_never_changes() -> None:
    """A store that went through the old text would differ from one that goes through the new."""
    texts = {
        1: "f746eb965f030bce",
        2: "05da2437bda18253",
        3: "b323d4263ae5f4b6",
        4: "14b6219f4d63ad1d",
    }
    for number, digest in texts.items():
        found = hashlib.sha256(schema.STEPS[number - 1].encode()).hexdigest()
        assert found.startswith(digest), f"format {number} is out in the world"
