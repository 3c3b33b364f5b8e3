"""Replicas that are killed while clients push: what was acknowledged is there, at all of them.

``LADING_KILLS`` says how many kills the long version makes.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.registry.kit import digest_of
from tests.registry.postgres_kit import PostgresServer
from tests.registry.replicas.cluster import Balancer, Cluster, cluster
from tests.registry.replicas.test_service import image, put_manifest
from tests.registry.s3.kit import PART, Server
from tests.registry.service_kit import call

pytestmark = pytest.mark.peer

CLIENTS = 3
_PATIENCE = 120.0

SHARED = b"a layer that everybody pushes" * 100


@dataclass
class Pushes:
    """Clients that push until they are told to stop, and what was acknowledged to them."""

    port: int
    over: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[tuple[str, str, bytes, tuple[bytes, ...]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)

    def run(self, number: int) -> None:
        random_ = random.Random(number)
        each = 0
        try:
            while not self.over.is_set():
                self._push(f"team-{number}/app", f"t{each}", random_)
                each += 1
        except Exception as error:  # noqa: BLE001 -- handed to the test
            self.failures.append(f"client {number}: {error!r}")

    def _push(self, repository: str, tag: str, random_: random.Random) -> None:
        layer = random_.randbytes(random_.choice((100, 60_000, PART + 5)))
        layers = (SHARED, layer)
        manifest, config = image(*layers)
        for data in (*layers, config):
            self._blob(repository, data)
        if self._until(lambda: put_manifest(self.port, repository, tag, manifest), {201}):
            self.acknowledged.append((repository, tag, manifest, layers))
        if random_.random() < 0.2:
            path = f"/v2/{repository}/manifests/{tag}"
            # 404: it was deleted by a request whose answer did not arrive.
            if self._until(lambda: call(self.port, "DELETE", path)[0], {202, 404}):
                self.deleted.append((repository, tag))

    def _blob(self, repository: str, data: bytes) -> None:
        """As docker does: begin, send in chunks, finish; from the beginning when that fails."""

        def whole() -> int:
            status, headers, _ = call(self.port, "POST", f"/v2/{repository}/blobs/uploads/")
            if status != 202:
                return status
            location, half = headers["Location"], len(data) // 2
            status, headers, _ = call(self.port, "PATCH", location, data[:half])
            if status != 202:
                return status
            done = f"{headers['Location']}?digest={digest_of(data)}"
            return call(self.port, "PUT", done, data[half:])[0]

        self._until(whole, {201})

    def _until(self, attempt: object, wanted: set[int]) -> bool:
        """Try again while replicas die; a refusal that repeats is a failure."""
        deadline = time.monotonic() + _PATIENCE
        status = 0
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                status = attempt()  # type: ignore[operator]
                if status in wanted:
                    return True
            time.sleep(0.05)
        raise AssertionError(f"it was never done, the last answer was {status}")


def everything_is_there(running: Cluster, pushes: Pushes) -> None:
    deleted = set(pushes.deleted)
    for port in running.ports:
        for repository, tag, manifest, layers in pushes.acknowledged:
            found = call(port, "GET", f"/v2/{repository}/manifests/{tag}")
            if (repository, tag) in deleted:
                assert found[0] == 404, (repository, tag)
                continue
            assert found[::2] == (200, manifest), (repository, tag, found)
            for layer in layers:
                path = f"/v2/{repository}/blobs/{digest_of(layer)}"
                assert call(port, "GET", path)[::2] == (200, layer)


def push_and_kill(running: Cluster, kills: int, random_: random.Random) -> Pushes:
    with Balancer(running) as balancer:
        pushes = Pushes(balancer.port)
        threads = [
            threading.Thread(target=pushes.run, args=(number,), daemon=True)
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            before = len(pushes.acknowledged)
            deadline = time.monotonic() + _PATIENCE
            while len(pushes.acknowledged) < before + 2 and not pushes.failures:
                assert time.monotonic() < deadline, running.logged()[-4000:]
                time.sleep(random_.uniform(0.01, 0.3))
            running.kill(random_.choice(running.replicas))
            running.start()
        pushes.over.set()
        for thread in threads:
            thread.join(_PATIENCE)
    assert not pushes.failures, pushes.failures
    return pushes


def kill_and_look(
    folder: Path, postgres: PostgresServer, bucket: Server, kills: int, seed: int
) -> None:
    random_ = random.Random(seed)
    with cluster(folder, postgres, bucket) as running:
        pushes = push_and_kill(running, kills, random_)
        assert pushes.acknowledged
        everything_is_there(running, pushes)
        # By a process that has none of the replicas' folders, while they serve.
        collected = running.command("gc")
        assert collected.returncode == 0, collected.stderr
        checked = running.command("check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        everything_is_there(running, pushes)
        assert "Traceback" not in running.logged()


def test_nothing_acknowledged_is_lost_when_a_replica_is_killed(
    tmp_path: Path, postgres_server: PostgresServer, bucket: Server
) -> None:
    kill_and_look(tmp_path, postgres_server, bucket, 2, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_nothing_acknowledged_is_lost_when_replicas_keep_being_killed(
    tmp_path: Path, postgres_server: PostgresServer, bucket: Server
) -> None:
    kills = int(os.environ.get("LADING_KILLS", "40"))
    kill_and_look(tmp_path, postgres_server, bucket, kills, seed=random.randrange(1 << 30))
