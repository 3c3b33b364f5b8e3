"""Bytes that are no request: a refusal in the registry's own shape, and one line of the log."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.registry.running import certificate
from tests.registry.service_kit import Service, call, service
from tests.registry.test_slow_clients import read_all
from tests.waiting import eventually

HEAD = "GET /v2/ HTTP/1.1\r\nHost: x\r\n"
CASES = {
    "a long field": (f"{HEAD}Authorization: Bearer {'s3cret' * 20_000}\r\n\r\n", 431),
    "many fields": (HEAD + "".join(f"X-{n}: s3cret\r\n" for n in range(200)) + "\r\n", 431),
    "a long path": (f"GET /v2/{'s3cret/' * 4000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "no method": ("s3cret\r\n\r\n", 400),
    "no version": ("GET /v2/s3cret HTTQ/1.1\r\n\r\n", 400),
    "a field without a name": (f"{HEAD}: s3cret\r\n\r\n", 400),
    "a control character": (f"{HEAD}Authorization: s3cret\0\r\n\r\n", 400),
    "no host": ("GET /v2/ HTTP/1.1\r\nAuthorization: s3cret\r\n\r\n", 400),
    "two lengths": (f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01", 400),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("heads"), workers=1) as found:
        yield found


def exchange(port: int, text: str) -> tuple[int, dict[str, str], bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        # The server reads on for a moment only; the answer is here, whatever it left unread.
        with suppress(ConnectionError):
            client.sendall(text.encode("latin-1"))
        answer = read_all(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    return int(first.split()[1]), dict(field.split(": ", 1) for field in fields), body


@pytest.mark.parametrize(("text", "status"), CASES.values(), ids=list(CASES))
def test_what_is_no_request(serving: Service, text: str, status: int) -> None:
    """The client reads why, also when it sends more than is read; the log has its address."""
    found, headers, body = exchange(serving.port, text)
    assert found == status
    assert headers["Content-Type"] == "application/json"
    (error,) = json.loads(body)["errors"]
    name = headers["X-Request-Id"]
    eventually(lambda: name in serving.logged())
    (line,) = [one for one in serving.logged().splitlines() if name in one]
    assert "INFO registry.access 127.0.0.1 sent no request: " in line
    assert f"{error['message']}, answered {status} request_id={name}" in line
    assert "s3cret" not in serving.logged()
    assert "Traceback" not in serving.logged()
    assert " ERROR " not in serving.logged()


def test_they_are_counted_and_the_next_request_is_answered(serving: Service) -> None:
    counted = 'http_requests_total{code="431",kind="other",method="other"'
    before = serving.metric(counted)
    exchange(serving.port, CASES["a long field"][0])
    assert serving.metric(counted) == before + 1
    token = "x" * (12 << 10)
    assert call(serving.port, "GET", "/v2/", headers={"X-Token": token})[0] == 200


def test_behind_a_request_of_the_same_connection(serving: Service) -> None:
    with socket.create_connection(("127.0.0.1", serving.port), timeout=60) as client:
        client.sendall(f"{HEAD}\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        client.sendall(b"nonsense\r\n\r\n")
        assert b"HTTP/1.0 400 " in read_all(client)


def test_plain_http_and_nonsense_on_a_tls_port(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    config = f'[tls]\ncert = "{cert}"\nkey = "{key}"\n'
    with service(tmp_path, config, workers=1, scheme="https") as found:
        for text in (f"{HEAD}\r\n", "\0" * 100):
            with socket.create_connection(("127.0.0.1", found.port), timeout=60) as client:
                client.sendall(text.encode())
                read_all(client)
        context = ssl.create_default_context(cafile=str(cert))
        with (
            socket.create_connection(("127.0.0.1", found.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            with suppress(ConnectionError, ssl.SSLEOFError):
                client.sendall(CASES["a long field"][0].encode())
            assert read_all(client).startswith(b"HTTP/1.0 431 ")
    assert "Traceback" not in found.logged()
    assert " ERROR " not in found.logged()
