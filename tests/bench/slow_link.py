"""A slow way to a server on loopback: what goes to it passes at so many bytes a second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 1 << 16


@contextmanager
def slow_link(port: int, rate: float) -> Iterator[int]:
    """A port that leads to ``port``; ``rate`` is shared by all connections, answers are free."""
    budget = _Budget(rate)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, port, budget), daemon=True).start()
        yield int(listener.getsockname()[1])


class _Budget:
    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, size: int) -> None:
        """Wait until ``size`` bytes may pass."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            pause = self._free_at - time.monotonic()
        time.sleep(max(0.0, pause))


def _accept(listener: socket.socket, port: int, budget: _Budget) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server, budget), (server, client, None)):
                threading.Thread(target=_forward, args=pair, daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, budget: _Budget | None) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE):
            if budget is not None:
                budget.spend(len(data))
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
