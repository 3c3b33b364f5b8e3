"""Frames between client and shim: length, JSON, and descriptors beside the first byte.

``unix(7)``, SCM_RIGHTS. Light on purpose: the client imports nothing else of this package.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_LENGTH_BYTES: Final = 4
_MAX_FRAME: Final = 64 << 20
_MAX_DESCRIPTORS: Final = 16


def send(connection: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message; ``fds`` are duplicated into the receiver.

    Raises:
        OSError: the other side is gone.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    view = memoryview(len(body).to_bytes(_LENGTH_BYTES) + body)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = connection.sendmsg([view], ancillary, socket.MSG_NOSIGNAL)
    while sent < len(view):
        sent += connection.send(view[sent:], socket.MSG_NOSIGNAL)


class Receiver:
    """Reads messages from one connection, keeping what arrived early."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._fds: list[int] = []

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and the descriptors that came with it; None at the end.

        Blocks as the connection's timeout says.

        Raises:
            OSError: the connection broke, or timed out (``TimeoutError``).
            ValueError: the frame is not one of ours.
        """
        while (message := self.pending()) is None:
            space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
            flags = socket.MSG_CMSG_CLOEXEC
            data, ancillary, _, _ = self._connection.recvmsg(1 << 16, space, flags)
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    whole = len(payload) - len(payload) % 4
                    self._fds += array.array("i", payload[:whole])
            if not data:
                self.close()
                return None
            self._buffer += data
        fds, self._fds = self._fds, []
        return message, fds

    def pending(self) -> dict[str, Any] | None:
        """A message that has already arrived whole, if any."""
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
        if length > _MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes is too long")
        end = _LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        message = json.loads(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        if not isinstance(message, dict):
            raise ValueError("a frame is not an object")
        return message

    def close(self) -> None:
        """Close descriptors that nobody asked for."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []
