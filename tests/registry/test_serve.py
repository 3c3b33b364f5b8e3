"""The server as a process: address, TLS, signals, and faults at start."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.listening import BoundAddress
from registry.serve import serve
from registry.settings import LimitSettings, TlsSettings
from registry.tls import server_context
from tests.registry.conftest import StartRegistry
from tests.registry.crashmodel import exchange as call
from tests.registry.kit import digest_of
from tests.registry.running import Running, certificate, server
from tests.waiting import eventually

DATA = os.urandom(1 << 20) * 3


def test_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    config = RegistryConfig(root=tmp_path / "r", port=0, tls=TlsSettings(cert, key))
    with Running(config) as bound:
        assert bound.url == f"https://127.0.0.1:{bound.port}"
        context = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection("localhost", bound.port, context=context)
        path = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
        connection.request("POST", path, DATA)
        response = connection.getresponse()
        response.read()
        assert response.status == 201
        connection.request("GET", response.headers["Location"], headers={"Range": "bytes=100-"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (206, DATA[100:])
        connection.close()


def test_uvloop_serves_large_blobs_by_sendfile(tmp_path: Path) -> None:
    with Running(RegistryConfig(root=tmp_path, port=0)) as bound:
        location = f"/v2/a/blobs/uploads/?digest={digest_of(DATA)}"
        assert call(bound.port, "POST", location, DATA)[0] == 201
        for _ in range(3):
            assert call(bound.port, "GET", f"/v2/a/blobs/{digest_of(DATA)}")[2] == DATA


def test_a_slow_reader_gets_everything(tmp_path: Path) -> None:
    with Running(RegistryConfig(root=tmp_path, port=0)) as bound:
        data = DATA * 4
        call(bound.port, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(data)}", data)
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
            reader.settimeout(60)
            reader.connect(("127.0.0.1", bound.port))
            path = f"/v2/a/blobs/{digest_of(data)}"
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            time.sleep(0.3)
            assert call(bound.port, "GET", "/v2/")[0] == 200
            received = b"".join(iter(lambda: reader.recv(1 << 20), b""))
        assert received.partition(b"\r\n\r\n")[2] == data


def test_a_reader_who_takes_nothing_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry.access")
    data = DATA * 8
    with Running(RegistryConfig(root=tmp_path, port=0)) as bound:
        where = f"/v2/a/blobs/uploads/?digest={digest_of(data)}"
        assert call(bound.port, "POST", where, data)[0] == 201
    with Running(
        RegistryConfig(root=tmp_path, port=0, limits=LimitSettings(idle_timeout=0.3))
    ) as bound:
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
            reader.settimeout(60)
            reader.connect(("127.0.0.1", bound.port))
            path = f"/v2/a/blobs/{digest_of(data)}"
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            # Its line comes when the server has given up, and only then it is read here.
            eventually(lambda: f"GET {path} " in caplog.text)
            received = 0
            try:
                while chunk := reader.recv(1 << 20):
                    received += len(chunk)
            except ConnectionError:
                pass
        assert received < len(data)
        assert call(bound.port, "GET", "/v2/")[0] == 200


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return True
    return False


def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    with server(tmp_path) as (process, port):
        data = b"x" * 200_000
        with socket.create_connection(("127.0.0.1", port)) as client:
            path = f"/v2/a/blobs/uploads/?digest={digest_of(data)}"
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
            client.sendall(head.encode() + data[:1000])
            eventually(lambda: list((tmp_path / "uploads").iterdir()))  # it is under way
            process.send_signal(signal.SIGTERM)
            eventually(lambda: refused(port))
            client.sendall(data[1000:])
            assert client.recv(1000).startswith(b"HTTP/1.1 201")
        assert process.wait(60) == 0
    with server(tmp_path) as (_, port):
        assert call(port, "GET", f"/v2/a/blobs/{digest_of(data)}")[2] == data


@pytest.mark.parametrize("embedded", [False, True])
async def test_a_body_is_invited_once_the_client_may_send_it(
    start: StartRegistry, tmp_path: Path, embedded: bool
) -> None:
    """RFC 9110, 10.1.1: `Expect: 100-continue`."""

    def exchange(port: int, path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
            answer = client.recv(1000)
            if not answer.startswith(b"HTTP/1.1 100"):
                return answer
            client.sendall(b"data")
            return answer + b"".join(iter(lambda: client.recv(1000), b""))

    async def check(port: int) -> None:
        allowed = f"/v2/a/blobs/uploads/?digest={digest_of(b'data')}"
        answer = await asyncio.to_thread(exchange, port, allowed)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")
        answer = await asyncio.to_thread(exchange, port, "/v2/a/tags/list")
        assert answer.startswith(b"HTTP/1.1 405 ")

    if embedded:
        await check(int((await start()).base.rpartition(":")[2]))
    else:
        running = Running(RegistryConfig(root=tmp_path, port=0))
        bound = await asyncio.to_thread(running.__enter__)
        try:
            await check(bound.port)
        finally:
            await asyncio.to_thread(running.__exit__)


def test_serve_prints_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, signal, os, registry.serve as s, registry.config as c\n"
        "config = c.RegistryConfig(root=pathlib.Path(sys.argv[1]), port=0)\n"
        "s.serve(config, ready=lambda bound: os.kill(os.getpid(), signal.SIGTERM))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    project = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_address_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RegistryStartError) as caught:
            serve(RegistryConfig(root=tmp_path, port=port))
    assert caught.value.where == f"127.0.0.1:{port}"


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_text("not a database, and long enough to be told from one" * 40)
    with pytest.raises(RegistryStartError) as caught:
        serve(RegistryConfig(root=tmp_path, port=0))
    assert caught.value.where == str(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RegistryStartError):
        serve(RegistryConfig(root=file, port=0))


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("not PEM")
    config = RegistryConfig(root=tmp_path, tls=TlsSettings(bad, bad))
    with pytest.raises(RegistryStartError, match="certificate"):
        server_context(config.tls)


def test_bound_addresses() -> None:
    assert BoundAddress("http", "127.0.0.1", 5000).url == "http://127.0.0.1:5000"
    assert BoundAddress("https", "::1", 443).authority == "[::1]:443"
