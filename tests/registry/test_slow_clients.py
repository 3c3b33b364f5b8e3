"""Clients that are slow, silent, or gone hold no worker and little memory."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.registry.kit import digest_of
from tests.registry.running import certificate
from tests.registry.service_kit import Service, call, service
from tests.waiting import eventually

# Long enough for a client that means well on a machine that stands still for a moment. A connection
# that says nothing is also one that is kept alive, and has to end as what it is looked for here.
LIMITS = """
[limits]
header_timeout = "1s"
idle_timeout = "1s"
body_rate = 2000
keep_alive = "2s"
"""
PATIENT = """
[limits]
header_timeout = "5m"
idle_timeout = "5m"
keep_alive = "5m"
"""
DATA = os.urandom(1 << 20) * 6
PATH = f"/v2/a/blobs/{digest_of(DATA)}"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("strict"), LIMITS, workers=1) as found:
        path = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
        assert call(found.port, "POST", path, DATA)[0] == 201
        yield found


def connect(found: Service, text: str = "", *, buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(60)
    client.connect(("127.0.0.1", found.port))
    # Who is turned away at once may be so before it has said anything.
    with suppress(ConnectionError):
        client.sendall(text.encode())
    return client


def read_all(client: socket.socket) -> bytes:
    """What comes until the server ends the connection, in whichever way."""
    received = b""
    try:
        while chunk := client.recv(1 << 16):
            received += chunk
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize("text", ["", "GET /v2/ HTTP/1.1\r\nHost:", "\r\n\r\n"])
def test_a_head_that_does_not_come(strict: Service, text: str) -> None:
    before = strict.metric("head_timeouts_total")
    with connect(strict, text) as client:
        assert b"200" not in read_all(client)
    assert strict.metric("head_timeouts_total") == before + 1


def test_a_head_that_trickles(strict: Service) -> None:
    """Slow-loris: a byte now and then does not extend the time for the head."""
    with connect(strict, "GET /v2/ HTTP/1.1\r\n") as client:
        sent = 0
        try:
            for sent in range(400):
                client.sendall(f"X-{sent}: y\r\n".encode())
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert sent < 399


def test_an_idle_connection(strict: Service) -> None:
    with connect(strict, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200")


def post(length: int) -> str:
    path = f"/v2/a/blobs/uploads/?digest={digest_of(b'never')}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"


def test_a_body_that_stalls(strict: Service) -> None:
    with connect(strict, post(1000) + "x" * 10) as client:
        assert read_all(client).startswith(b"HTTP/1.1 408")


def test_a_body_that_trickles(strict: Service) -> None:
    before = strict.metric("body_timeouts_total")
    with connect(strict, post(1_000_000)) as client:
        answer = b""
        for _ in range(200):
            # The server may have answered and hung up since the last look; the answer is here then.
            with suppress(ConnectionError):
                client.sendall(b"x" * 50)
            time.sleep(0.05)
            client.setblocking(False)
            try:
                answer = client.recv(1000)
                break
            except BlockingIOError:
                client.settimeout(60)
    assert answer.startswith(b"HTTP/1.1 408")
    assert strict.metric("body_timeouts_total") == before + 1


def test_a_client_that_takes_nothing_of_large_content(strict: Service) -> None:
    before = strict.logged().count(f"GET {PATH} ")
    with connect(strict, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n", buffer=50_000) as client:
        # A request that has not begun is not active either: its line tells that it is over.
        eventually(lambda: strict.logged().count(f"GET {PATH} ") > before)
        assert strict.metric("requests_active") == 0
        assert len(read_all(client)) < len(DATA)


def test_a_client_that_takes_none_of_many_answers(strict: Service) -> None:
    """Answers from memory have no timer of ours; the kernel gives up on them (TCP_USER_TIMEOUT)."""
    with connect(strict, buffer=4096) as client:
        client.settimeout(2)
        request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + b"y" * 100 + b"\r\n\r\n"
        try:
            for _ in range(10_000):
                client.sendall(request * 100)
        except (TimeoutError, ConnectionError):
            pass
        eventually(lambda: strict.metric("connections_open") == 0)


def test_too_many_connections(tmp_path: Path) -> None:
    # They say nothing and have to stay for as long as this takes.
    config = f"{PATIENT}connections = 20\n"
    with service(tmp_path, config, workers=1) as found, ExitStack() as stack:
        many = [stack.enter_context(connect(found)) for _ in range(20)]
        eventually(lambda: found.metric("connections_open") == 20)
        with connect(found, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n") as late:
            assert read_all(late).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1")
        many[0].close()
        eventually(lambda: found.metric("connections_open") < 20)
        assert call(found.port, "GET", "/v2/")[0] == 200
        assert found.metric("connections_refused_total") == 1


def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    config = f'{LIMITS}[tls]\ncert = "{cert}"\nkey = "{key}"\n'
    with service(tmp_path, config, workers=1, scheme="https") as found, connect(found) as client:
        assert read_all(client) == b""


def test_a_client_that_takes_nothing_under_tls(tmp_path: Path) -> None:
    """The connection ends; the log tells it as what it is, and not as a fault of the storage."""
    cert, key = certificate(tmp_path)
    config = f'{LIMITS}[tls]\ncert = "{cert}"\nkey = "{key}"\n'
    context = ssl._create_unverified_context()
    with service(tmp_path, config, workers=1, scheme="https") as found:
        with context.wrap_socket(connect(found)) as uploader:
            path = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
            uploader.sendall(head.encode() + DATA)
            assert uploader.recv(1000).startswith(b"HTTP/1.1 201")
        with context.wrap_socket(connect(found, buffer=32_768)) as client:
            client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            eventually(lambda: f"GET {PATH} 499 " in found.logged())
            assert len(read_all(client)) < len(DATA)
        assert " ERROR " not in found.logged()


@pytest.mark.parametrize("tls", [False, True])
def test_many_slow_pulls_take_little_memory(tmp_path: Path, tls: bool) -> None:
    """A quarter of the benchmark's thousand, so that every machine may open them."""
    clients = 250
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * clients)), hard))
    # Pages are made ready some time after the start, and take memory that is no client's.
    # Nobody is late, however long it takes to open all of them.
    config, scheme = f"{PATIENT}[web]\nenabled = false\n", "http"
    context = ssl._create_unverified_context()
    if tls:
        cert, key = certificate(tmp_path)
        config, scheme = f'{config}[tls]\ncert = "{cert}"\nkey = "{key}"\n', "https"
    with service(tmp_path, config, scheme=scheme) as found, ExitStack() as stack:

        def dial() -> socket.socket:
            raw = connect(found, buffer=32_768)
            return stack.enter_context(context.wrap_socket(raw) if tls else raw)

        with dial() as uploader:
            path = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
            uploader.sendall(head.encode() + DATA)
            assert uploader.recv(1000).startswith(b"HTTP/1.1 201")
        before = found.metric("worker_resident_bytes")
        readers = [dial() for _ in range(clients)]
        for reader in readers:
            reader.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        taken = [len(reader.recv(1000)) for reader in readers]
        eventually(lambda: found.metric("requests_active") == clients)
        time.sleep(0.5)
        grown = found.metric("worker_resident_bytes") - before
        # Some 300 KB under TLS; with pieces or buffers that are too large it is 780 KB and more.
        assert grown < clients * (500_000 if tls else 60_000), f"{grown / clients:,.0f} bytes each"
        for number in (0, clients // 2, clients - 1):
            assert taken[number] + len(read_all(readers[number])) > len(DATA)
