"""Several workers as one registry: nothing stale, nobody missed, counted together."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.registry.kit import digest_of, manifest
from tests.registry.service_kit import Service, call, service
from tests.waiting import eventually

DATA = b"x" * 100_000
IMAGE = manifest(layers=[DATA])
OCI = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as found:
        yield found


def push(port: int, repository: str = "a") -> None:
    for data in (b"{}", DATA):
        path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}"
        assert call(port, "POST", path, data)[0] == 201
    assert call(port, "PUT", f"/v2/{repository}/manifests/1", IMAGE, OCI)[0] == 201


def connections(found: Service, count: int = 12) -> list[HTTPConnection]:
    """Connections that together reach every worker."""
    made = [HTTPConnection("127.0.0.1", found.port, timeout=30) for _ in range(count)]
    for connection in made:
        ask(connection, "GET", "/v2/")
    return made


def ask(connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> int:
    connection.request(method, path, body, OCI)
    response = connection.getresponse()
    response.read()
    return response.status


def test_what_one_worker_deletes_no_other_answers(running: Service) -> None:
    """D9: no cache that outlives a delete, in whichever process it is."""
    push(running.port)
    many = connections(running)
    tag, digest, blob = "1", digest_of(IMAGE), digest_of(DATA)
    for round_number in range(4):
        deleter = many[round_number % len(many)]
        assert ask(many[0], "PUT", f"/v2/a/manifests/{tag}", IMAGE) == 201
        for path in (f"/v2/a/manifests/{tag}", f"/v2/a/manifests/{digest}"):
            assert {ask(one, "GET", path) for one in many} == {200}
        assert ask(deleter, "DELETE", f"/v2/a/manifests/{digest}") == 202
        for path in (f"/v2/a/manifests/{tag}", f"/v2/a/manifests/{digest}"):
            assert {ask(one, "GET", path) for one in many} == {404}
    assert {ask(one, "HEAD", f"/v2/a/blobs/{blob}") for one in many} == {200}
    assert ask(many[3], "DELETE", f"/v2/a/blobs/{blob}") == 202
    assert {ask(one, "GET", f"/v2/a/blobs/{blob}") for one in many} == {404}
    for one in many:
        one.close()


def test_a_tag_that_moves_moves_everywhere_at_once(running: Service) -> None:
    push(running.port)
    many = connections(running)
    for number in range(6):
        raw = json.dumps({**json.loads(IMAGE), "annotations": {"n": str(number)}}).encode()
        assert ask(many[number], "PUT", "/v2/a/manifests/1", raw) == 201
        for one in many:
            one.request("HEAD", "/v2/a/manifests/1")
            response = one.getresponse()
            response.read()
            assert response.headers["Docker-Content-Digest"] == digest_of(raw)
    for one in many:
        one.close()


def test_an_upload_may_come_to_any_worker(running: Service) -> None:
    pieces = [os.urandom(70_000) for _ in range(8)]
    whole = b"".join(pieces)
    _, headers, _ = call(running.port, "POST", "/v2/a/blobs/uploads/")
    location, sent = headers["Location"], 0
    for piece in pieces:
        span = {"Content-Range": f"{sent}-{sent + len(piece) - 1}"}
        status, headers, _ = call(running.port, "PATCH", location, piece, span)
        assert status == 202
        location, sent = headers["Location"], sent + len(piece)
    assert call(running.port, "PUT", f"{location}?digest={digest_of(whole)}")[0] == 201
    assert call(running.port, "GET", f"/v2/a/blobs/{digest_of(whole)}")[2] == whole


def test_a_killed_worker_takes_only_its_own_requests_with_it(running: Service) -> None:
    push(running.port)
    failed: list[int] = []
    answered = 0
    stop = threading.Event()

    def pull() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                if call(running.port, "GET", "/v2/a/manifests/1")[0] != 200:
                    failed.append(1)
                answered += 1
            except (OSError, HTTPException):
                failed.append(0)

    clients = [threading.Thread(target=pull) for _ in range(4)]
    for client in clients:
        client.start()
    kills = 3
    for _ in range(kills):
        victims = running.workers()
        before = answered
        eventually(lambda before=before: answered > before + 20)  # type: ignore[misc]
        os.kill(victims[0], signal.SIGKILL)
        eventually(lambda gone=victims[0]: gone not in running.workers())  # type: ignore[misc]
        eventually(lambda: len(running.workers()) == 2)
    stop.set()
    for client in clients:
        client.join()
    assert 1 not in failed, "an answer was wrong"
    assert len(failed) <= kills * len(clients)
    assert running.metric("worker_deaths_total") == kills
    assert "was killed by SIGKILL" in running.logged()


def test_metrics_add_up_over_workers_and_their_deaths(running: Service) -> None:
    for _ in range(30):
        call(running.port, "GET", "/v2/")
    os.kill(running.workers()[0], signal.SIGKILL)
    eventually(lambda: running.metric("worker_deaths_total") == 1)
    call(running.port, "GET", "/v2/a/manifests/1")
    assert running.metric('http_requests_total{code="200",kind="base"') == 30
    assert running.metric('http_requests_total{code="404",kind="manifest",method="GET"') == 1
    assert running.metric("http_request_duration_seconds_count") == 31
    assert running.metric("connections_total") == 31
    assert running.metric("worker_resident_bytes") > 20e6
    eventually(lambda: running.metric("connections_open") == 0)


def test_workers_end_with_their_supervisor(running: Service) -> None:
    workers = running.workers()
    running.process.kill()
    running.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_port_is_not_shared_with_another_registry(running: Service, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with (
        pytest.raises(AssertionError, match="cannot listen: Address already in use"),
        service(other, "", "--addr", f"127.0.0.1:{running.port}"),
    ):
        pass


def test_a_worker_that_cannot_start_is_told_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index.db").write_text("no database, but long enough to tell" * 40)
    with pytest.raises(AssertionError, match="cannot open the store"), service(tmp_path):
        pass


def test_sockets_by_activation(tmp_path: Path) -> None:
    """sd_listen_fds(3): descriptors from 3 on, for the process in LISTEN_PID."""
    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        " os.environ['LISTEN_FDS'] = '1'; os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor, port = listener.fileno(), listener.getsockname()[1]
        # Taken by the kernel before anybody serves.
        early = socket.create_connection(("127.0.0.1", port))
        early.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        launch = ("/usr/bin/env", "python3", "-c", script, str(descriptor))
        with service(tmp_path, launch=launch, pass_fds=(descriptor,)) as found:
            assert found.port == port
            assert early.recv(100).startswith(b"HTTP/1.1 200")
            early.close()
            assert call(port, "GET", "/v2/")[0] == 200


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    """sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        for workers in (1, 2):
            with service(tmp_path, environment=environment, workers=workers) as found:
                assert manager.recv(100) == b"READY=1"
                found.signal(signal.SIGHUP)
                assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
                assert manager.recv(100) == b"READY=1"
                found.signal(signal.SIGTERM)
                assert manager.recv(100) == b"STOPPING=1"


def test_draining(tmp_path: Path) -> None:
    with service(tmp_path) as found:
        path = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", found.port)) as client:
            client.sendall(head.encode() + DATA[:1000])
            eventually(lambda: found.metric("requests_active") == 1)
            assert call(found.metrics_port, "GET", "/readyz")[0] == 200
            found.signal(signal.SIGTERM)
            eventually(lambda: _refused(found.port))
            # The worker that drains answers that it does, once the other one is gone.
            eventually(lambda: _readiness(found.metrics_port) == (503, b"draining\n"))
            client.sendall(DATA[1000:])
            assert client.recv(1000).startswith(b"HTTP/1.1 201")
        assert found.process.wait(60) == 0


def _readiness(port: int) -> tuple[int, bytes] | None:
    """The answer of a worker; None of one that ends before it answered."""
    try:
        status, _, said = call(port, "GET", "/readyz")
    except (ConnectionError, HTTPException):
        return None
    return status, said


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionError:
        return True
    return False


def test_a_drain_has_an_end(tmp_path: Path) -> None:
    with service(tmp_path, '[limits]\ndrain_timeout = "0.2s"\n') as found:
        path = "/v2/a/blobs/uploads/?digest=" + digest_of(DATA)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        with socket.create_connection(("127.0.0.1", found.port)) as client:
            client.sendall(head.encode())
            eventually(lambda: found.metric("requests_active") == 1)
            found.signal(signal.SIGTERM)
            assert found.process.wait(60) == 0
        assert "drained, 1 cut off" in found.logged()
