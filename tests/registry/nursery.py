"""Registries in processes of their own, to be killed; forked, so that a start costs milliseconds.

``Nursery`` starts ``python -m tests.registry.nursery``, which imports the server once and forks one
process group for each line ``{"root": ..., "fault": [...]}`` it reads; the child prints its port.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).parents[2]


@dataclass
class Server:
    """One registry; ``pid`` leads its process group."""

    pid: int
    port: int

    def kill(self) -> None:
        """kill -9 all of it, and wait until nothing of it is left."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.wait()

    def wait(self) -> None:
        """Wait until its process group is gone."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.002)
        raise AssertionError("the server does not end")


class Nursery:
    """Starts servers; use as a context."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.registry.nursery"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    @contextmanager
    def server(
        self, root: Path, *, workers: int = 1, fault: str = "", lease: float | None = None
    ) -> Iterator[Server]:
        """A registry that listens; it is killed when the block ends, if it still lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"root": str(root), "workers": workers, "fault": fault, "lease": lease}
        self._process.stdin.write(json.dumps(order) + "\n")
        ready, _, _ = select.select([self._process.stdout], [], [], 60)
        assert ready, "no server came up"
        pid, port = map(int, self._process.stdout.readline().split())
        server = Server(pid, port)
        try:
            yield server
        finally:
            server.kill()


def main() -> None:
    """Fork a server for each line of standard input."""
    import registry.serve
    import registry.service  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        if os.fork() == 0:
            _serve(order)


def _serve(order: dict[str, object]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from registry.collection.settings import CollectionSettings
    from registry.config import RegistryConfig
    from registry.serve import serve
    from tests.registry import faults

    root, workers = Path(str(order["root"])), int(str(order["workers"]))
    config = RegistryConfig(root=root, port=0, workers=workers)
    if order["lease"] is not None:
        collection = CollectionSettings(lease=float(str(order["lease"])))
        config = replace(config, collection=collection)
    pid = os.getpid()

    def ready(bound: object) -> None:
        if order["fault"]:
            faults.arm()
        print(pid, getattr(bound, "port"), flush=True)  # noqa: B009

    if order["fault"]:
        faults.install(str(order["fault"]), root)
    try:
        serve(config, ready=ready)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
