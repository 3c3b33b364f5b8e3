"""Replicas as people run them: any request may go to any of them, and any may be killed."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from images.mediatype import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.conftest import require_program
from tests.registry.kit import descriptor, digest_of
from tests.registry.postgres_kit import PostgresServer
from tests.registry.replicas.cluster import Balancer, Cluster, cluster
from tests.registry.s3.kit import PART, Server
from tests.registry.service_kit import call
from tests.waiting import eventually

pytestmark = pytest.mark.peer

BIG = os.urandom(2 * PART + 4321)


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, bucket: Server
) -> Iterator[Cluster]:
    """Three replicas without users."""
    folder = tmp_path_factory.mktemp("three")
    with cluster(folder, postgres_server, bucket, replicas=3) as running:
        yield running


def begin(port: int, repository: str) -> str:
    status, headers, _ = call(port, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == 202
    return headers["Location"]


def push_blob(ports: list[int], repository: str, data: bytes) -> str:
    digest = digest_of(data)
    location = begin(ports[0], repository)
    status, _, body = call(ports[-1], "PUT", f"{location}?digest={digest}", data)
    assert status == 201, body
    return digest


def image(*layers: bytes) -> tuple[bytes, bytes]:
    """An image's manifest and configuration."""
    config = json.dumps({"made": digest_of(b"".join(layers))}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
    }
    return json.dumps(manifest).encode(), config


def put_manifest(port: int, repository: str, tag: str, manifest: bytes) -> int:
    headers = {"Content-Type": OCI_MANIFEST}
    path = f"/v2/{repository}/manifests/{tag}"
    return call(port, "PUT", path, manifest, headers)[0]


def test_every_part_of_an_upload_may_go_elsewhere(three: Cluster) -> None:
    """Chunks smaller and larger than parts; each request to the replica after the last one's."""
    a, b, c = three.ports
    location = begin(a, "chunked")
    cuts = [0, 10, 70_000, PART + 17, PART + 18, len(BIG)]
    for number, (start, end) in enumerate(pairwise(cuts)):
        port = (b, c, a)[number % 3]
        chunk = BIG[start:end]
        headers = {"Content-Range": f"{start}-{end - 1}"}
        status, answered, body = call(port, "PATCH", location, chunk, headers)
        assert status == 202, body
        location = answered["Location"]
        status, answered, _ = call((c, a, b)[number % 3], "GET", location)
        assert (status, answered["Range"]) == (204, f"0-{end - 1}")
    digest = digest_of(BIG)
    status, _, body = call(b, "PUT", f"{location}?digest={digest}")
    assert status == 201, body
    for port in three.ports:
        assert call(port, "GET", f"/v2/chunked/blobs/{digest}")[::2] == (200, BIG)
    assert call(c, "GET", location)[0] == 404


def test_what_one_replica_changed_all_answer(three: Cluster) -> None:
    """Hot answers as well: each is asked often enough to have them in memory."""
    a, b, c = three.ports
    layers = [os.urandom(100), os.urandom(200)]
    made = [image(layer) for layer in layers]
    for layer, (manifest, config) in zip(layers, made, strict=True):
        for data in (layer, config):
            push_blob([a, c], "hot", data)
        assert put_manifest(b, "hot", "latest", manifest) == 201
        for _ in range(3):
            for port in three.ports:
                assert call(port, "GET", "/v2/hot/manifests/latest")[::2] == (200, manifest)
    assert call(b, "DELETE", "/v2/hot/manifests/latest")[0] == 202
    for port in three.ports:
        assert call(port, "GET", "/v2/hot/manifests/latest")[0] == 404
        assert json.loads(call(port, "GET", "/v2/hot/tags/list")[2])["tags"] in ([], None)
    digest = digest_of(made[0][0])
    for port in three.ports:
        assert call(port, "GET", f"/v2/hot/manifests/{digest}")[0] == 200
    assert call(c, "DELETE", f"/v2/hot/manifests/{digest}")[0] == 202
    for port in three.ports:
        assert call(port, "GET", f"/v2/hot/manifests/{digest}")[0] == 404


def test_clients_push_and_pull_through_a_balancer(three: Cluster, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    layout = tmp_path / "layout"
    write_layout(layout, [os.urandom(PART + 99), os.urandom(1000)])
    with Balancer(three) as balancer:
        place = f"docker://127.0.0.1:{balancer.port}/team/app:1"
        flags = ["--insecure-policy", "copy", "--preserve-digests"]
        for words in (
            ["--dest-tls-verify=false", f"oci:{layout}:t", place],
            ["--src-tls-verify=false", place, f"oci:{tmp_path / 'back'}:t"],
        ):
            done = subprocess.run([skopeo, *flags, *words], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr + three.logged()
    blobs = {path.name: path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    back = {p.name: p.read_bytes() for p in (tmp_path / "back/blobs/sha256").iterdir()}
    assert back == blobs


def write_layout(folder: Path, layers: list[bytes]) -> None:
    """An OCI layout with the tag ``t``."""
    manifest, config = image(*layers)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in (manifest, config, *layers):
        (blobs / digest_of(data).partition(":")[2]).write_bytes(data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = descriptor(manifest, OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def test_an_upload_goes_on_elsewhere_when_its_holder_is_killed(
    tmp_path: Path, postgres_server: PostgresServer, bucket: Server
) -> None:
    """Killed amid a chunk: another replica has the session in seconds, not after a silence."""
    with cluster(tmp_path, postgres_server, bucket) as two:
        first, second = two.replicas
        location = begin(first.port, "moved")
        status, answered, _ = call(first.port, "PATCH", location, BIG[:100])
        assert status == 202
        with ExitStack() as streams:

            def held() -> bool:
                # Where the question below came first, this is what was refused: asked again.
                stream = socket.create_connection(("127.0.0.1", first.port), 30)
                streams.enter_context(stream)
                stream.sendall(
                    f"PATCH {answered['Location']} HTTP/1.1\r\nHost: x\r\n"
                    f"Content-Length: {len(BIG)}\r\n\r\n".encode()
                    + BIG[:1000]
                )
                return call(second.port, "PATCH", location, b"")[0] == 409

            eventually(held)
            two.kill(first)

        def taken() -> bool:
            status, answered, _ = call(second.port, "GET", location)
            return status == 204 and answered["Range"] == "0-99"

        eventually(taken)
        done = f"{location}?digest={digest_of(BIG)}"

        def finished() -> bool:
            # Who is refused may be hung up on before all of it was sent.
            with suppress(OSError, http.client.HTTPException):
                return call(second.port, "PUT", done, BIG[100:])[0] == 201
            return False

        eventually(finished)
        digest = digest_of(BIG)
        assert call(second.port, "GET", f"/v2/moved/blobs/{digest}")[::2] == (200, BIG)
        assert two.command("check").returncode == 0


def test_scheduled_work_goes_over_to_another(
    tmp_path: Path, postgres_server: PostgresServer, bucket: Server
) -> None:
    """The holder of the office is killed, and the log is signed by the other one."""
    settings = '[transparency]\nenabled = true\norigin = "registry.example"\n'
    environment = {"LADING_NOTARY_PASSPHRASE": "a long passphrase"}
    with cluster(
        tmp_path, postgres_server, bucket, settings=settings, environment=environment
    ) as two:
        holder = two.replicas[0]
        two.kill(holder)
        two.start()
        ports = two.ports
        push_blob(ports, "a", b"layer")
        manifest, config = image(b"layer")
        push_blob(ports, "a", config)
        assert put_manifest(ports[0], "a", "1", manifest) == 201

        def size(port: int) -> int:
            status, _, note = call(port, "GET", "/v2/_lading/log/checkpoint")
            assert status == 200, note
            return int(note.split(b"\n")[1])

        assert [size(port) for port in ports] == [1, 1]
        keys = {call(port, "GET", "/v2/_lading/log/key")[2] for port in ports}
        assert len(keys) == 1


def test_a_start_without_the_common_passphrase_is_refused(
    tmp_path: Path, postgres_server: PostgresServer, bucket: Server
) -> None:
    settings = '[countersign]\nrepositories = ["**"]\nname = "registry.example"\n'
    with (
        pytest.raises(AssertionError, match="sealed with a passphrase"),
        cluster(tmp_path, postgres_server, bucket, replicas=1, settings=settings),
    ):
        pass
