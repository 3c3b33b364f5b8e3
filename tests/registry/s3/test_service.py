"""The real command with its blobs in a bucket: clients, workers, kills, redirects."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from images.mediatype import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.conftest import require_program
from tests.registry import kit
from tests.registry.kit import digest_of
from tests.registry.s3.kit import PART, Server
from tests.registry.service_kit import Service, call, service
from tests.waiting import eventually

pytestmark = pytest.mark.peer

BIG = os.urandom(3 * PART + 4321)
MIDDLE = os.urandom(100_000)


@pytest.fixture
def served(s3_server: Server, tmp_path: Path) -> Iterator[Service]:
    """A service of two workers with an empty prefix."""
    config = s3_server.settings(f"{tmp_path.name}/")
    with service(tmp_path, config, environment=s3_server.environment) as running:
        yield running


def objects(server: Server, prefix: str) -> list[str]:
    page = server.client.list_objects_v2(Bucket=server.bucket, Prefix=prefix)
    return [item["Key"] for item in page.get("Contents", ())]


def begin(port: int, repository: str = "a") -> str:
    status, headers, _ = call(port, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == 202
    return headers["Location"]


def push(port: int, data: bytes, repository: str = "a") -> str:
    location = begin(port, repository)
    digest = digest_of(data)
    status, _, body = call(port, "PUT", f"{location}?digest={digest}", data)
    assert status == 201, body
    return f"/v2/{repository}/blobs/{digest}"


def test_reads_are_what_they_are_with_files(served: Service) -> None:
    path = push(served.port, BIG)
    digest = digest_of(BIG)
    status, headers, body = call(served.port, "GET", path)
    assert (status, body) == (200, BIG)
    assert headers["Docker-Content-Digest"] == digest
    status, headers, body = call(served.port, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, str(len(BIG)), b"")
    status, headers, body = call(served.port, "GET", path, headers={"Range": "bytes=100-600000"})
    assert (status, body) == (206, BIG[100:600001])
    assert headers["Content-Range"] == f"bytes 100-600000/{len(BIG)}"
    status, _, body = call(served.port, "GET", path, headers={"Range": "bytes=-7"})
    assert (status, body) == (206, BIG[-7:])
    assert call(served.port, "GET", path, headers={"Range": "bytes=99999999-"})[0] == 416
    assert call(served.port, "GET", path, headers={"If-None-Match": f'"{digest}"'})[0] == 304
    assert call(served.port, "GET", path.replace("/a/", "/b/"))[0] == 404


def test_chunks_wherever_they_arrive(served: Service) -> None:
    """Each request is a connection of its own, so both workers take part."""
    location = begin(served.port)
    cuts = [0, 1000, PART - 1, PART + 5, 2 * PART, len(BIG)]
    for start, end in pairwise(cuts):
        wrong = {"Content-Range": f"{start + 1}-{start + 2}"}
        status, headers, _ = call(served.port, "PATCH", location, b"xx", wrong)
        assert status == 416
        assert headers["Range"] == f"0-{max(start - 1, 0)}"
        right = {"Content-Range": f"{start}-{end - 1}"}
        status, headers, _ = call(served.port, "PATCH", location, BIG[start:end], right)
        assert (status, headers["Range"]) == (202, f"0-{end - 1}")
    digest = digest_of(BIG)
    assert call(served.port, "PUT", f"{location}?digest={digest}")[0] == 201
    assert call(served.port, "GET", f"/v2/a/blobs/{digest}")[2] == BIG
    assert call(served.port, "GET", location)[0] == 404


def test_a_wrong_digest_leaves_nothing(served: Service, s3_server: Server, tmp_path: Path) -> None:
    location = begin(served.port)
    status, _, body = call(served.port, "PUT", f"{location}?digest={digest_of(b'x')}", BIG)
    assert (status, b"DIGEST_INVALID" in body) == (400, True)
    assert call(served.port, "GET", location)[0] == 404
    assert not objects(s3_server, f"{tmp_path.name}/")


def test_a_redirect_leads_to_the_bytes(s3_server: Server, tmp_path: Path) -> None:
    settings = {"redirect": "true", "redirect_expiry": '"1m"'}
    config = s3_server.settings(f"{tmp_path.name}/", **settings)
    with service(tmp_path, config, environment=s3_server.environment) as served:
        path = push(served.port, BIG)
        status, headers, body = call(served.port, "GET", path)
        assert (status, body) == (307, b"")
        url = headers["Location"]
        assert url.startswith(s3_server.endpoint)
        assert "X-Amz-Expires=60" in url
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == BIG
        ranged = urllib.request.Request(url, headers={"Range": "bytes=5-9"})
        with urllib.request.urlopen(ranged) as answer:
            assert (answer.status, answer.read()) == (206, BIG[5:10])
        assert call(served.port, "HEAD", path)[0] == 200
        condition = {"If-None-Match": f'"{digest_of(BIG)}"'}
        assert call(served.port, "GET", path, headers=condition)[0] == 304
        assert call(served.port, "GET", path, headers={"Range": "bytes=99999999-"})[0] == 416
        # Who has no link to it gets no URL either, and what fits into memory is answered.
        assert call(served.port, "GET", path.replace("/a/", "/b/"))[0] == 404
        assert call(served.port, "GET", push(served.port, b"{}"))[2] == b"{}"


def test_bytes_survive_kills_during_an_upload(s3_server: Server, tmp_path: Path) -> None:
    """What a 202 acknowledged is there in the next life, whatever came after it."""
    config = s3_server.settings(f"{tmp_path.name}/")
    settings = {"environment": s3_server.environment, "workers": 1}
    with service(tmp_path, config, **settings) as served:
        location = begin(served.port)
        cut = PART + 1000
        assert call(served.port, "PATCH", location, BIG[:cut])[0] == 202
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.putrequest("PATCH", location)
        connection.putheader("Content-Length", str(len(BIG) - cut))
        connection.endheaders()
        connection.send(BIG[cut : 2 * PART + 500])
        for pid in (*served.workers(), served.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        connection.close()
    with service(tmp_path, config, **settings) as served:
        status, headers, _ = call(served.port, "GET", location)
        assert status == 204
        size = int(headers["Range"].partition("-")[2]) + 1
        assert cut <= size <= 2 * PART + 500
        digest = digest_of(BIG)
        assert call(served.port, "PUT", f"{location}?digest={digest}", BIG[size:])[0] == 201
        assert call(served.port, "GET", f"/v2/a/blobs/{digest}")[2] == BIG
    assert len(objects(s3_server, f"{tmp_path.name}/")) == 1


def test_a_worker_that_is_killed_loses_no_session(served: Service) -> None:
    location = begin(served.port)
    assert call(served.port, "PATCH", location, BIG[: PART + 77])[0] == 202
    before = served.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(served.workers()) - set(before)) == 2)
    digest = digest_of(BIG)
    rest = BIG[PART + 77 :]

    def put() -> bool:
        with suppress(OSError, http.client.HTTPException):
            return call(served.port, "PUT", f"{location}?digest={digest}", rest)[0] == 201
        return False

    eventually(put)
    assert call(served.port, "GET", f"/v2/a/blobs/{digest}")[2] == BIG


def layout(root: Path, contents: list[bytes]) -> Path:
    """A one-image OCI layout with a compressed layer for each of these, which need no archives."""
    layers = [gzip.compress(content, 1, mtime=0) for content in contents]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(content) for content in contents]},
        }
    ).encode()
    described = [kit.descriptor(layer, OCI_LAYER) for layer in layers]
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": kit.descriptor(config, OCI_CONFIG),
            "layers": described,
        }
    ).encode()
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for data in (*layers, config, raw):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    name = {"org.opencontainers.image.ref.name": "t"}
    entries = [kit.descriptor(raw, OCI_MANIFEST, annotations=name)]
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return root


@pytest.mark.parametrize("redirect", ["false", "true"])
def test_skopeo_pushes_and_pulls(s3_server: Server, tmp_path: Path, redirect: str) -> None:
    skopeo = require_program("skopeo")
    source = layout(tmp_path / "layout", [BIG, MIDDLE, b"small"])
    config = s3_server.settings(f"{tmp_path.name}/", redirect=redirect)
    with service(tmp_path, config, environment=s3_server.environment) as served:
        there = f"docker://127.0.0.1:{served.port}/deep/er/app:1"
        plain = {"src": "--src-tls-verify=false", "dest": "--dest-tls-verify=false"}
        run(skopeo, "copy", plain["dest"], f"oci:{source}:t", there)
        run(skopeo, "copy", plain["src"], there, f"dir:{tmp_path}/out")
        pulled = {path.name for path in (tmp_path / "out").iterdir()}
        stored = {path.name for path in (source / "blobs" / "sha256").iterdir()}
        assert len(stored & pulled) == 4  # the manifest has a name of its own there
        # A mount takes no bytes along.
        before = objects(s3_server, f"{tmp_path.name}/blobs/")
        other = f"docker://127.0.0.1:{served.port}/other:1"
        run(skopeo, "copy", *plain.values(), there, other)
        assert objects(s3_server, f"{tmp_path.name}/blobs/") == before


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
