"""An ssh agent lent to a step: a socket with the owner and mode that was asked for, forwarded to
the real one.

The agent's own socket is its user's alone. Binding it into a container would let only root use it.
"""

from __future__ import annotations

import os
import selectors
import socket
import tempfile
import threading
from pathlib import Path

_CHUNK = 1 << 16


class AgentSocket:
    """A listening socket in a folder of its own, served by one thread while the ``with`` block
    lasts.
    """

    def __init__(self, agent: Path, folder: Path, *, mode: int, uid: int, gid: int) -> None:
        self._agent = agent
        self._folder = folder
        self._mode, self._uid, self._gid = mode, uid, gid

    def __enter__(self) -> Path:
        """Start serving; returns the socket's path.

        Raises:
            OSError: the socket cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = tempfile.TemporaryDirectory(prefix="agent-", dir=self._folder)
        path = Path(self._directory.name) / "s"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(self._mode)
        os.chown(path, self._uid, self._gid)
        self._listener.listen(16)
        self._stop, stopper = socket.socketpair()
        self._forwarder = _Forwarder(self._listener, stopper, self._agent)
        self._thread = threading.Thread(target=self._forwarder.serve, daemon=True)
        self._thread.start()
        return path

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        self._listener.close()
        self._directory.cleanup()


class _Forwarder:
    """Pairs of connections, bytes of one go to the other. An agent's messages are small: writes
    block.
    """

    def __init__(self, listener: socket.socket, stopper: socket.socket, agent: Path) -> None:
        self._listener = listener
        self._stopper = stopper
        self._agent = agent
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the other end of ``stopper`` is closed."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stopper, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopper:
                    self._close_all()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._forward(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            agent.connect(str(self._agent))
        except OSError:
            client.close()
            agent.close()
            return
        for one, other in ((client, agent), (agent, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(_CHUNK)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass
        for end in (source, target):
            self._selector.unregister(end)
            del self._peers[end]
            end.close()

    def _close_all(self) -> None:
        for end in self._peers:
            end.close()
        self._selector.close()
        self._stopper.close()
