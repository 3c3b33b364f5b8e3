"""What systemd offers a service: sockets that are open already, and somebody to tell the state.

sd_listen_fds(3) and sd_notify(3), in plain Python: an environment variable and a datagram.
"""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Mapping
from typing import Final

_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""


def inherited_sockets(environment: Mapping[str, str], pid: int) -> list[tuple[str, socket.socket]]:
    """The listening sockets handed to this process, with their names ("" without one)."""
    if environment.get("LISTEN_PID") != str(pid):
        return []
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for position in range(count):
        name = names[position] if position < len(names) else ""
        listener = socket.socket(fileno=_FIRST + position)
        fcntl.fcntl(listener, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        found.append((name, listener))
    return found


class Notifier:
    """Tells the service manager; does nothing where none listens (no ``NOTIFY_SOCKET``)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")

    def ready(self) -> None:
        """Requests are taken."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """No new connection is taken."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.connect(address)
                out.sendall(state.encode())
            except OSError:
                # A manager that is gone changes nothing about the service.
                return
