"""Two services over one bucket and one schema: replicas, as people run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.registry import kit
from tests.registry.postgres_kit import PostgresServer
from tests.registry.s3.conftest import s3_server
from tests.registry.s3.kit import Server
from tests.registry.service_kit import PROJECT, Service, call, service
from tests.waiting import eventually

__all__ = ["s3_server"]

pytestmark = pytest.mark.peer

MANIFEST = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}


@dataclass
class Replicas:
    """Services that share everything but their folders."""

    services: list[Service]
    folders: list[Path]
    environment: dict[str, str]
    schema: str

    @property
    def ports(self) -> list[int]:
        return [service.port for service in self.services]


@contextmanager
def replicas(
    folder: Path, s3: Server, database: PostgresServer, *, workers: int = 1
) -> Iterator[Replicas]:
    """Two of them."""
    settings = database.settings()
    config = (
        s3.settings(f"{folder.name}/")
        + f'\n[index]\ntype = "postgresql"\nurl = "{settings.url}"\nschema = "{settings.schema}"\n'
    )
    folders = [folder / "one", folder / "two"]
    with ExitStack() as stack:
        for path in folders:
            path.mkdir()
        start = partial(service, config=config, workers=workers, environment=s3.environment)
        services = [stack.enter_context(start(path)) for path in folders]
        yield Replicas(services, folders, s3.environment, settings.schema)
    database.drop(settings.schema)


def push(port: int, name: str, tag: str, layer: bytes) -> str:
    """Push an image of one layer; returns its digest."""
    for data in (b"{}", layer):
        path = f"/v2/{name}/blobs/uploads/?digest={kit.digest_of(data)}"
        status, _, body = call(port, "POST", path, data)
        assert status == 201, body
    raw = kit.manifest(layers=[layer])
    status, _, body = call(port, "PUT", f"/v2/{name}/manifests/{tag}", raw, MANIFEST)
    assert status == 201, body
    return kit.digest_of(raw)


def lading(there: Replicas, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lading", "registry", *words]
    command += ["-c", str(there.folders[0] / "registry.toml")]
    environment = {**os.environ, **there.environment}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def pair(s3_server: Server, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Replicas]:
    with replicas(tmp_path, s3_server, postgres_server) as there:
        yield there


def test_what_one_takes_every_one_has_at_once(pair: Replicas) -> None:
    one, two = pair.ports
    for number in range(12):
        digest = push(one, "team/app", "latest", b"layer %d" % number)
        status, headers, _ = call(two, "GET", "/v2/team/app/manifests/latest")
        assert (status, headers["Docker-Content-Digest"]) == (200, digest)
        layer = kit.digest_of(b"layer %d" % number)
        assert call(two, "GET", f"/v2/team/app/blobs/{layer}")[0] == 200
        assert call(two, "DELETE", f"/v2/team/app/manifests/{digest}")[0] == 202
        assert call(one, "DELETE", f"/v2/team/app/blobs/{layer}")[0] == 202
        for port in (one, two):
            assert call(port, "GET", "/v2/team/app/manifests/latest")[0] == 404
            assert call(port, "GET", f"/v2/team/app/manifests/{digest}")[0] == 404
            assert call(port, "GET", f"/v2/team/app/blobs/{layer}")[0] == 404


def test_an_upload_goes_on_at_any_replica(pair: Replicas) -> None:
    one, two = pair.ports
    _, headers, _ = call(one, "POST", "/v2/a/blobs/uploads/")
    location = headers["Location"].partition("//")[2].partition("/")[2] or headers["Location"]
    path = location if location.startswith("/") else f"/{location}"
    for port, chunk in ((two, b"half "), (one, b"and half")):
        status, headers, body = call(port, "PATCH", path, chunk)
        assert status == 202, body
    data = b"half and half"
    joint = "&" if "?" in path else "?"
    status, _, body = call(two, "PUT", f"{path}{joint}digest={kit.digest_of(data)}", b"")
    assert status == 201, body
    assert call(one, "GET", f"/v2/a/blobs/{kit.digest_of(data)}")[2] == data


def test_a_replica_that_is_killed_holds_up_nobody(pair: Replicas) -> None:
    one, two = pair.ports
    push(one, "a", "1", b"first")
    stop = threading.Event()

    def busy() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                push(one, "busy", f"t{number}", b"%d" % number)
            except (OSError, HTTPException, AssertionError):
                return

    pusher = threading.Thread(target=busy)
    pusher.start()
    time.sleep(0.3)
    os.kill(pair.services[0].pid, signal.SIGKILL)
    stop.set()
    pusher.join()
    push(two, "a", "2", b"second")
    done = lading(pair, "check", "--format", "json")
    assert json.loads(done.stdout)["clean"], done.stdout


def test_collections_run_beside_pushes_at_another_replica(pair: Replicas) -> None:
    """What a push was told stays; what nobody needs goes, with its objects."""
    one, two = pair.ports
    for number in range(5):
        push(one, f"gone{number}", "t", b"old %d" % number)
        call(one, "DELETE", f"/v2/gone{number}/manifests/t")
    failed: list[str] = []

    def pusher(port: int, name: str) -> None:
        try:
            for number in range(8):
                push(port, name, f"t{number}", b"old %d" % (number % 5))
        except AssertionError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=pusher, args=(port, f"new{port}")) for port in (one, two)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # Its lease keeps what the pushes rely on, and takes nothing else yet.
        done = lading(pair, "gc")
        assert done.returncode == 0, done.stderr
    for thread in threads:
        thread.join()
    assert not failed
    done = lading(pair, "gc", "--lease", "0")
    assert done.returncode == 0, done.stderr
    done = lading(pair, "check", "--format", "json")
    assert json.loads(done.stdout)["clean"], done.stdout
    for port in (one, two):
        for number in range(8):
            assert call(two, "GET", f"/v2/new{port}/manifests/t{number}")[0] == 200
            layer = kit.digest_of(b"old %d" % (number % 5))
            assert call(one, "GET", f"/v2/new{port}/blobs/{layer}")[0] == 200


def test_a_replica_of_an_older_release_reads_on_and_writes_no_more(
    pair: Replicas, postgres_server: PostgresServer
) -> None:
    """A rolling upgrade: the balancer learns it from /readyz, and clients when to come back."""
    port, metrics_port = pair.services[0].port, pair.services[0].metrics_port
    push(port, "a", "t", b"before")
    schema = pair.schema
    postgres_server.sql(f"ALTER TABLE {schema}.repositories ADD COLUMN later bigint")
    postgres_server.sql(f"UPDATE {schema}.format SET version = 99")
    assert call(port, "GET", "/v2/a/manifests/t")[0] == 200
    assert call(port, "GET", f"/v2/a/blobs/{kit.digest_of(b'before')}")[2] == b"before"
    for method, path in (
        ("POST", f"/v2/a/blobs/uploads/?digest={kit.digest_of(b'after')}"),
        ("DELETE", "/v2/a/manifests/t"),
    ):
        status, headers, body = call(port, method, path, b"after" if method == "POST" else None)
        assert (status, headers["Retry-After"]) == (503, "5"), body
        assert b"being upgraded" in body
    assert call(port, "GET", "/v2/a/tags/list")[2] == b'{"name":"a","tags":["t"]}'
    status, _, body = call(metrics_port, "GET", "/readyz")
    assert (status, body) == (503, b"a newer release has taken over the database\n")
    assert "Traceback" not in pair.services[0].logged()


def test_a_database_that_crashes_costs_nothing_that_was_acknowledged(
    s3_server: Server, own_server: PostgresServer, tmp_path: Path
) -> None:
    with replicas(tmp_path, s3_server, own_server) as there:
        one, two = there.ports
        status_port = there.services[1].metrics_port
        kept: dict[str, str] = {}
        stop = threading.Event()
        refused: list[tuple[int, str | None]] = []

        def pusher() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                data = b"blob %d" % number
                path = f"/v2/a/blobs/uploads/?digest={kit.digest_of(data)}"
                # What became of a commit is asked for a while, beside the wait for a connection.
                connection = HTTPConnection("127.0.0.1", one, timeout=120)
                connection.request("POST", path, data)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                if answer.status == 201:
                    kept[kit.digest_of(data)] = str(number)
                else:
                    refused.append((answer.status, answer.headers.get("Retry-After")))

        thread = threading.Thread(target=pusher)
        thread.start()
        eventually(lambda: len(kept) > 3)
        own_server.crash()
        before = len(kept)
        eventually(lambda: len(kept) > before + 3, 60)
        own_server.stop()
        eventually(lambda: call(two, "GET", f"/v2/a/blobs/{min(kept)}")[0] == 503, 60)
        status, headers, body = call(two, "GET", f"/v2/a/blobs/{min(kept)}")
        assert status == 503
        assert headers["Retry-After"]
        assert str(own_server.port) not in body.decode()
        status, _, body = call(status_port, "GET", "/readyz")
        assert (status, body) == (503, b"the database cannot be reached\n")
        assert call(status_port, "GET", "/healthz")[0] == 200
        there.services[1].signal(signal.SIGHUP)
        own_server.start()
        eventually(lambda: call(status_port, "GET", "/readyz")[0] == 200, 60)
        done = there.services[1].metric("reloads_total")
        there.services[1].signal(signal.SIGHUP)
        eventually(lambda: there.services[1].metric("reloads_total") > done, 60)
        before = len(kept)
        eventually(lambda: len(kept) > before + 3, 60)
        stop.set()
        thread.join()
        assert all(status == 503 and after for status, after in refused), refused
        for digest in kept:
            assert call(two, "GET", f"/v2/a/blobs/{digest}")[0] == 200


def test_blobs_in_files_are_refused(postgres_server: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(
        f'root = "store"\n[index]\ntype = "postgresql"\nurl = "{postgres_server.url}"\n'
    )
    command = [sys.executable, "-m", "lading", "registry", "serve", "-c", str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert "needs blobs that they share" in done.stderr
