"""SIGHUP: certificates, users and settings are read again, and no request is dropped for it."""

from __future__ import annotations

import base64
import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading
from http.client import HTTPException
from pathlib import Path

import bcrypt
import pytest

from tests.registry.kit import digest_of
from tests.registry.running import certificate
from tests.registry.service_kit import Service, call, service
from tests.waiting import eventually


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_user(path: Path, user: str, password: str) -> None:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4))
    path.write_bytes(user.encode() + b":" + hashed + b"\n")


def reload(found: Service, *, good: bool = True) -> None:
    """SIGHUP, and wait until all workers have done it, or it is refused."""
    name = "reloads_total" if good else "reload_failures_total"
    expected = found.metric(name) + (len(found.workers()) or 1 if good else 1)
    found.signal(signal.SIGHUP)
    eventually(lambda: found.metric(name) >= expected)


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_under_load_drop_nothing(tmp_path: Path, workers: int) -> None:
    cert, key = certificate(tmp_path)
    users = tmp_path / "users"
    write_user(users, "ada", "first password")
    config = f'[tls]\ncert = "{cert}"\nkey = "{key}"\n[access]\nhtpasswd = "{users}"\n'
    failures: list[object] = []
    answered = 0
    stop = threading.Event()

    def use(port: int) -> None:
        nonlocal answered
        context = ssl._create_unverified_context()
        headers = basic("ada", "first password")
        while not stop.is_set():
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
            try:
                for _ in range(5):
                    data = str(answered).encode() * 1000
                    path = f"/v2/a/blobs/uploads/?digest={digest_of(data)}"
                    connection.request("POST", path, data, headers)
                    response = connection.getresponse()
                    response.read()
                    if response.status != 201:
                        failures.append(response.status)
                    answered += 1
            except (OSError, HTTPException) as error:
                failures.append(error)
            finally:
                connection.close()

    with service(tmp_path, config, workers=workers, scheme="https") as found:
        clients = [threading.Thread(target=use, args=(found.port,)) for _ in range(3)]
        for client in clients:
            client.start()
        for _ in range(4):
            before = answered
            old = served_certificate(found.port)
            certificate(tmp_path)
            reload(found)
            assert served_certificate(found.port) == cert.read_text() != old
            eventually(lambda before=before: answered > before + 10)  # type: ignore[misc]
        stop.set()
        for client in clients:
            client.join()
    assert failures == []


def test_users_are_read_again(tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_user(users, "ada", "first password")
    with service(tmp_path, f'[access]\nhtpasswd = "{users}"\n') as found:
        old, new = basic("ada", "first password"), basic("ada", "second password")
        assert call(found.port, "GET", "/v2/", headers=old)[0] == 200
        write_user(users, "ada", "second password")
        reload(found)
        for _ in range(8):
            assert call(found.port, "GET", "/v2/", headers=new)[0] == 200
            assert call(found.port, "GET", "/v2/", headers=old)[0] == 401


def test_settings_are_read_again(tmp_path: Path) -> None:
    with service(tmp_path) as found:
        file = tmp_path / "registry.toml"
        good = file.read_text()
        path = "/v2/a/blobs/uploads/"
        assert call(found.port, "POST", path)[0] == 202
        file.write_text("read_only = true\n" + good)
        reload(found)
        assert {call(found.port, "POST", path)[0] for _ in range(8)} == {405}


def test_a_bad_configuration_changes_nothing_and_is_explained(tmp_path: Path) -> None:
    with service(tmp_path) as found:
        file = tmp_path / "registry.toml"
        good = file.read_text()
        file.write_text('read_onyl = true\nport = "x"\n')
        reload(found, good=False)
        assert call(found.port, "POST", "/v2/a/blobs/uploads/")[0] == 202
        said = found.logged()
        assert "reload refused, the configuration is as it was" in said
        assert "registry.toml:1: read_onyl: no such setting; did you mean read_only?" in said
        assert "registry.toml:2: port: 'x' is not a whole number" in said
        assert found.metric("reloads_total") == 0
        file.write_text(good.replace("port = 0", "port = 1", 1))
        reload(found)
        assert "port changed; a restart will bring it into effect" in found.logged()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_reached_changes_nothing(tmp_path: Path, workers: int) -> None:
    with service(tmp_path, workers=workers) as found:
        file = tmp_path / "registry.toml"
        good = file.read_text()
        file.write_text(f'{good}\n[access]\nhtpasswd = "/{"x" * 300}"\n')
        reload(found, good=False)
        # A worker that is alone counts at once, and writes its log by a thread.
        eventually(lambda: "cannot be read: File name too long" in found.logged())
        file.write_text(good)
        reload(found)
        assert call(found.port, "GET", "/v2/")[0] == 200


def test_a_bad_certificate_changes_nothing(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with service(tmp_path, f'[tls]\ncert = "{cert}"\nkey = "{key}"\n', scheme="https") as found:
        before = served_certificate(found.port)
        good = key.read_text()
        other = tmp_path / "other"
        other.mkdir()
        key.write_text(certificate(other)[1].read_text())
        reload(found, good=False)
        assert served_certificate(found.port) == before
        assert "cannot load the certificate" in found.logged()
        key.write_text(good)
        reload(found)
        assert served_certificate(found.port) == before


def test_tls_sessions_resume_with_any_worker_and_after_a_reload(tmp_path: Path) -> None:
    """RFC 5077: tickets are sealed with keys that all workers have."""
    cert, key = certificate(tmp_path)
    with service(
        tmp_path, f'[tls]\ncert = "{cert}"\nkey = "{key}"\nminimum = "1.2"\n', scheme="https"
    ) as found:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session = None
        reused = []
        for number in range(12):
            if number == 6:
                certificate(tmp_path)
                reload(found)
            with (
                socket.create_connection(("127.0.0.1", found.port)) as raw,
                context.wrap_socket(raw, session=session) as wrapped,
            ):
                reused.append(wrapped.session_reused)
                session = session or wrapped.session
        assert reused == [False] + [True] * 11


def test_the_oldest_tls_version_is_a_setting(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with service(
        tmp_path,
        f'[tls]\ncert = "{cert}"\nkey = "{key}"\nminimum = "1.3"\n',
        scheme="https",
        workers=1,
    ) as found:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", found.port)) as raw,
            pytest.raises(ssl.SSLError),
        ):
            context.wrap_socket(raw)


def test_the_unit_runs_what_the_command_is() -> None:
    """deploy/lading-registry.service names flags that exist."""
    unit = (Path(__file__).parents[2] / "deploy" / "lading-registry.service").read_text()
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    arguments = line.partition("lading ")[2].split()
    shown = subprocess.run(
        [sys.executable, "-m", "lading", *arguments[:2], "--help"], capture_output=True, text=True
    ).stdout
    flags = [word for word in arguments if word.startswith("-")]
    assert flags
    assert all(flag in shown for flag in flags)
    for needed in ("Type=notify", "ExecReload=/bin/kill -HUP", "TimeoutStopSec="):
        assert needed in unit
