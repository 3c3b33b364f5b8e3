"""Services as people run them: ``lading registry serve`` in processes of their own."""

from __future__ import annotations

import http.client
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port

PROJECT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running service; ``pid`` is the supervisor's, or that of the only process."""

    process: subprocess.Popen[str]
    port: int
    metrics_port: int
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        """Processes of the workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; ``name`` may begin with labels: ``x{a="b"``."""
        status, _, body = call(self.metrics_port, "GET", "/metrics")
        assert status == 200
        values = re.findall(rf"^lading_registry_{re.escape(name)}\S* (\S+)$", body.decode(), re.M)
        return sum(map(float, values))

    def logged(self) -> str:
        return self.log.read_text()


def call(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@contextmanager
def service(
    folder: Path,
    config: str = "",
    *flags: str,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    launch: Sequence[str] = (),
    scheme: str = "http",
) -> Iterator[Service]:
    """Serve ``folder``/store by the TOML in ``config``; stopped when the block ends."""
    file = folder / "registry.toml"
    metrics_port = free_port()
    metrics = f"\n[metrics]\nport = {metrics_port}\n"
    file.write_text(f'root = "store"\nport = 0\nworkers = {workers}\n{config}{metrics}')
    log = folder / "log"
    command = [
        *launch,
        sys.executable,
        "-m",
        "lading",
        "registry",
        "serve",
        "-c",
        str(file),
        *flags,
    ]
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=pass_fds,
        )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], 90)
        line = process.stdout.readline() if readable else ""
        match = re.match(rf"serving {scheme}://\S+:(\d+) from ", line)
        assert match, (line, log.read_text())
        yield Service(process, int(match[1]), metrics_port, log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)  # a drain may take half of that
        finally:
            process.kill()
            process.stdout.close()
