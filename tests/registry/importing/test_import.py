"""Storage of other registries, written by themselves, taken over and served."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from images.digest import Digest
from lading.cli import run_command
from registry.config import RegistryConfig
from registry.errors import ImportSourceError
from registry.importing.sources import find_source
from registry.importing.taking import ImportReport, Taker
from registry.index import SqliteIndex
from registry.storage import FileStorage
from tests.conftest import require_program
from tests.ports import free_port
from tests.registry.kit import OCI_MANIFEST, descriptor, digest_of, manifest
from tests.registry.running import Running

LAYER = b"layer" * 1000
IMAGE = manifest(layers=[LAYER])
REFERRER = manifest(subject=descriptor(IMAGE, OCI_MANIFEST))
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [{"mediaType": OCI, "digest": digest_of(IMAGE), "size": len(IMAGE)}],
    }
).encode()


def ask(
    port: int, method: str, path: str, body: bytes | None = None, kind: str = ""
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": kind} if kind else {"Accept": f"{OCI}, {INDEX_TYPE}"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data


@contextmanager
def docker_registry(folder: Path) -> Iterator[int]:
    """Debian's docker-registry on a free port, storing below ``folder``."""
    port = free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem:\n    rootdirectory: {folder}"
        f"\n  delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [require_program("docker-registry"), "serve", str(config)], stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            try:
                ask(port, "GET", "/v2/")
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def push(port: int, repository: str, *tags: str) -> None:
    """An image under tags, and an index over it as ``multi``."""
    for data in (b"{}", LAYER):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", f"/v2/{repository}/blobs/uploads/")
        response = connection.getresponse()
        response.read()
        location = response.headers["Location"]
        connection.close()
        path = location[location.index("/v2/") :]
        path += f"{'&' if '?' in path else '?'}digest={digest_of(data)}"
        assert ask(port, "PUT", path, data, "application/octet-stream")[0] == 201
    for tag in tags:
        assert ask(port, "PUT", f"/v2/{repository}/manifests/{tag}", IMAGE, OCI)[0] == 201
    multi = ask(port, "PUT", f"/v2/{repository}/manifests/multi", INDEX, INDEX_TYPE)
    assert multi[0] == 201


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    SqliteIndex(root).close()
    FileStorage(root)
    return root


def take(folder: Path, store: Path) -> ImportReport:
    index = SqliteIndex(store)
    try:
        return Taker(find_source(folder), index, FileStorage(store)).take()
    finally:
        index.close()


@pytest.mark.peer
def test_what_docker_registry_stored_is_served(tmp_path: Path, store: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with docker_registry(theirs) as port:
        push(port, "team/app", "1", "latest")
        push(port, "other", "1")
        gone = f"/v2/other/manifests/{digest_of(INDEX)}"
        assert ask(port, "DELETE", gone)[0] == 202
    report = take(theirs, store)
    assert report.problems == []
    assert (report.repositories, report.manifests, report.tags) == (2, 3, 4)
    assert take(theirs, store) == ImportReport(repositories=2)
    with Running(RegistryConfig(root=store, port=0, workers=1)) as bound:
        for tag, raw in (("1", IMAGE), ("latest", IMAGE), ("multi", INDEX)):
            assert ask(bound.port, "GET", f"/v2/team/app/manifests/{tag}") == (200, raw)
        blob = f"blobs/{digest_of(LAYER)}"
        assert ask(bound.port, "GET", f"/v2/team/app/{blob}") == (200, LAYER)
        assert ask(bound.port, "GET", "/v2/other/manifests/multi")[0] == 404
    assert run_command(["registry", "check", "--storage", str(store)]) == 0


def write_layout(folder: Path, rows: list[tuple[bytes, str]], *blobs: bytes) -> None:
    """An OCI layout as zot leaves it: only tagged or referring manifests have rows."""
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    manifests = []
    for raw, tag in rows:
        row: dict[str, object] = {"digest": digest_of(raw), "size": len(raw), "mediaType": OCI}
        if tag:
            row["annotations"] = {"org.opencontainers.image.ref.name": tag}
        manifests.append(row)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    for data in (*blobs, *(raw for raw, _ in rows)):
        (folder / "blobs/sha256" / digest_of(data)[7:]).write_bytes(data)


def test_what_zot_stored_is_served(tmp_path: Path, store: Path) -> None:
    theirs = tmp_path / "theirs"
    rows = [(INDEX, "multi"), (IMAGE, "1"), (REFERRER, "")]
    write_layout(theirs / "team/app", rows, b"{}", LAYER)
    write_layout(theirs / "_trivy", rows, b"{}", LAYER)
    report = take(theirs, store)
    assert report.problems == []
    assert (report.repositories, report.manifests, report.tags) == (1, 3, 2)
    with Running(RegistryConfig(root=store, port=0, workers=1)) as bound:
        assert ask(bound.port, "GET", "/v2/team/app/manifests/multi") == (200, INDEX)
        _, found = ask(bound.port, "GET", f"/v2/team/app/referrers/{digest_of(IMAGE)}")
        assert [it["digest"] for it in json.loads(found)["manifests"]] == [digest_of(REFERRER)]


def test_what_is_missing_or_damaged_is_told_and_not_taken(tmp_path: Path, store: Path) -> None:
    theirs = tmp_path / "theirs"
    write_layout(theirs / "a", [(IMAGE, "1")], b"{}", LAYER)
    write_layout(theirs / "b", [(IMAGE, "1"), (REFERRER, "2")], b"{}")
    (theirs / "a/blobs/sha256" / digest_of(LAYER)[7:]).write_bytes(LAYER[:-1] + b"x")
    report = take(theirs, store)
    assert [problem.split(": ")[0] for problem in report.problems] == [
        f"a@{digest_of(IMAGE)}",
        "a:1",
        f"b@{digest_of(IMAGE)}",
        "b:1",
    ]
    assert "hashes to" in report.problems[0]
    assert "not there" in report.problems[2]
    assert (report.manifests, report.tags) == (1, 1)
    assert FileStorage(store).size(Digest.parse(digest_of(LAYER))) is None


def test_names_that_lead_elsewhere_are_passed_over(tmp_path: Path, store: Path) -> None:
    theirs = tmp_path / "theirs"
    write_layout(theirs / "a", [(IMAGE, "../../x")], b"{}", LAYER)
    row = {"digest": "sha256:../../../../etc/passwd", "size": 1}
    index = theirs / "a/index.json"
    document = json.loads(index.read_text())
    index.write_text(json.dumps({"manifests": [*document["manifests"], row, 7, None]}))
    report = take(theirs, store)
    assert (report.manifests, report.tags, report.problems) == (1, 0, [])


def test_a_folder_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportSourceError, match="no storage of distribution or zot"):
        find_source(tmp_path)


def test_the_command(tmp_path: Path, store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "theirs"
    for name in ("team/app", "team/lib", "other"):
        write_layout(theirs / name, [(IMAGE, "1")], b"{}", LAYER)
    where = ["--storage", str(store)]
    line = ["registry", "import", *where, "--repository", "team/*", str(theirs)]
    assert run_command(line) == 0
    assert "2 repositories, 2 manifests, 2 tags, 4 blobs" in capfd.readouterr().out
    shutil.rmtree(theirs / "other/blobs")
    assert run_command(["registry", "import", *where, "--format", "json", str(theirs)]) == 1
    assert json.loads(capfd.readouterr().out)["problems"]
