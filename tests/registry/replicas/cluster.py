"""Several replicas of one registry, as real processes, and a balancer before them."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.registry.postgres_kit import PostgresServer
from tests.registry.running import PROJECT
from tests.registry.s3.kit import Server
from tests.registry.service_kit import Service, service

_HEAD_END = b"\r\n\r\n"
_TLS = b"\x16"
"""A handshake, with which clients try what may be a registry under TLS."""


@dataclass
class Replica:
    """One of them; ``stack`` ends its process."""

    service: Service
    stack: ExitStack

    @property
    def port(self) -> int:
        return self.service.port


@dataclass
class Cluster:
    """Replicas with a folder each; they share ``settings``, a bucket and a schema."""

    folder: Path
    settings: str
    environment: Mapping[str, str]
    replicas: list[Replica] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def ports(self) -> list[int]:
        return [replica.port for replica in self.replicas]

    def start(self) -> Replica:
        """Another replica, with a folder that nobody used."""
        folder = self.folder / f"replica-{next(self._numbers)}"
        folder.mkdir()
        stack = ExitStack()
        environment = {**self.environment}
        running = stack.enter_context(
            service(folder, self.settings, workers=1, environment=environment)
        )
        self.replicas.append(Replica(running, stack))
        return self.replicas[-1]

    def kill(self, replica: Replica) -> None:
        """kill -9, and forget it."""
        self.replicas.remove(replica)
        replica.service.process.send_signal(signal.SIGKILL)
        replica.service.process.wait()
        replica.stack.close()

    def command(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``lading registry WORDS`` as on a machine that serves nothing."""
        folder = self.folder / f"commands-{next(self._numbers)}"
        folder.mkdir()
        file = folder / "registry.toml"
        file.write_text(f'root = "store"\n{self.settings}')
        return subprocess.run(
            [sys.executable, "-m", "lading", "registry", *words, "-c", str(file)],
            cwd=PROJECT,
            env={**os.environ, **self.environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def logged(self) -> str:
        """What all of them said, those that are gone as well."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*/log")))


@contextmanager
def cluster(
    folder: Path,
    postgres: PostgresServer,
    bucket: Server,
    *,
    replicas: int = 2,
    settings: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Replicas with an empty bucket and schema; ended with the block."""
    schema = f"c{secrets.token_hex(6)}"
    index = f'[index]\ntype = "postgresql"\nurl = "{postgres.url}"\nschema = "{schema}"\n'
    text = "\n".join((settings, index, bucket.settings(f"{schema}/")))
    made = Cluster(folder, text, {**bucket.environment, **(environment or {})})
    try:
        for _ in range(replicas):
            made.start()
        yield made
    finally:
        for replica in made.replicas:
            replica.stack.close()
        postgres.drop(schema)


class Balancer:
    """Gives each request to the next replica, over a connection of its own.

    It knows of HTTP only where a head ends: it asks the replica to close after its answer, and
    closes then, too. Who cannot be reached is passed over.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns = count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Balancer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes accept(2), which closing alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(120)
            head = b""
            while _HEAD_END not in head:
                data = client.recv(65536)
                if not data or data.startswith(_TLS):
                    return
                head += data
            lines, _, rest = head.partition(_HEAD_END)
            kept = [
                line for line in lines.split(b"\r\n") if not line.lower().startswith(b"connection:")
            ]
            with self._reach() as replica:
                replica.settimeout(120)
                replica.sendall(b"\r\n".join([*kept, b"Connection: close"]) + _HEAD_END + rest)
                up = threading.Thread(target=_pipe, args=(client, replica), daemon=True)
                up.start()
                _pipe(replica, client)
                # The client may wait for more; the replica does not.
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                up.join(20)

    def _reach(self) -> socket.socket:
        for _ in range(20):
            ports = self._cluster.ports
            with suppress(OSError):
                return socket.create_connection(
                    ("127.0.0.1", ports[next(self._turns) % len(ports)]), 5
                )
        raise OSError("no replica listens")


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
