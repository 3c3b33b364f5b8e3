"""Registries that really listen: in a thread of this process, or in a process of their own."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.config import RegistryConfig
from registry.listening import BoundAddress
from registry.serve import serve_async

PROJECT = Path(__file__).parents[2]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and 127.0.0.1, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_path, key_path


class Running:
    """A registry served by a thread of this process."""

    def __init__(self, config: RegistryConfig) -> None:
        self._bound: BoundAddress | None = None
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, args=(config,), daemon=True)

    def __enter__(self) -> BoundAddress:
        self._thread.start()
        assert self._started.wait(60)
        assert self._bound is not None
        return self._bound

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(90)  # a drain may take a third of that
        assert not self._thread.is_alive()

    def _run(self, config: RegistryConfig) -> None:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            self._loop = runner.get_loop()
            runner.run(serve_async(config, ready=self._ready, stop=self._stop))

    def _ready(self, bound: BoundAddress) -> None:
        self._bound = bound
        self._started.set()


@contextmanager
def server(root: Path, *wrapper: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A registry in a process group of its own, perhaps run by ``wrapper``, and its port.

    The port is 0 when the server ended before it listened. The group is killed at the end.
    """
    command = [*wrapper, sys.executable, "-m", "tests.registry.server_process", root]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline() or 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
