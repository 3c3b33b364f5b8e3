"""Ports for servers that cannot be asked to choose one themselves.

A port that the kernel chose and that was closed again may be anybody's a moment later: a client's
connection or another server's. The ports here lie outside the range that the kernel chooses from,
and no two of pytest's processes share any.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from itertools import count

_FIRST, _SHARE = 10240, 2560
_turns = count(random.randrange(_SHARE))


def free_port() -> int:
    """A port that nobody listens on, on any address, and that this process gave to nobody else."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + worker % 8 * _SHARE
    for _ in range(_SHARE):
        port = first + next(_turns) % _SHARE
        with suppress(OSError), socket.create_server(("", port)):
            return port
    raise RuntimeError(f"none of the ports {first} to {first + _SHARE - 1} is free")
