"""Shims kept ready ahead of their clients, and taken back when their container is gone.

A new shim costs a fork and a thousand page faults, so one whose container ended well waits for the
next client instead of dying. Launcher and shim speak in single bytes over a socket pair:

    shim      ``TAKEN`` a client; ``STARTED`` its program; ``FREE``: may I wait again?; ``OVER``
    launcher  ``STAY``, with the listening socket beside it, or ``GO``

An idle shim ends with the launcher, whose lifeline it holds; a busy one has no listening socket, so
that a launcher that died can be told from one that is slow.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, TypeAlias

from runtime import remains, syscalls
from runtime.warm import Warm

SPARES: Final = 2
"""Idle shims that are forked: one for the next client, one for whoever comes right after it.

The second waits until it is quiet, unless several clients are there: one that runs containers one
after the other, a build for instance, is served by those that come back.
"""
_KEPT: Final = 4
"""Idle shims that may stay; a build's parallel steps come again."""
_BREATH_SECONDS: Final = 0.05
_CALM_SECONDS: Final = 1.0
"""After which a second idle shim is forked for a single client, or for none."""
_QUIET_SECONDS: Final = 10.0
"""After which idle shims beyond ``SPARES`` go, one at a time."""

_SWEEPS: Final = (0.02, 0.5)
"""Seconds before each; a process that is dying closes its line before it lets go of its lock."""

TAKEN, STARTED, FREE, OVER = b"+", b".", b"?", b"x"
STAY, GO = b"y", b"n"

ShimLife: TypeAlias = Callable[["Desk"], NoReturn]
"""What a forked shim does for the rest of its life."""


class Desk:
    """A shim's side: its listening socket while it is idle, and its line to the launcher."""

    def __init__(self, listener: socket.socket, lifeline: int, line: socket.socket) -> None:
        self._listener: socket.socket | None = listener
        self._lifeline = lifeline
        self._line = line

    def someone_waits(self) -> bool:
        """Whether a client would be served at once."""
        return self._listener is not None and _readable(self._listener, seconds=0)

    def accept(self) -> socket.socket | None:
        """The next client that no other shim took first; None when there is none to wait for."""
        listener = self._listener
        assert listener is not None
        while True:
            waited = [listener.fileno(), self._lifeline, self._line.fileno()]
            ready = select.select(waited, [], [])[0]
            if listener.fileno() not in ready:
                return None
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            connection.setblocking(True)  # noqa: FBT003 - the standard library's own signature
            self._say(TAKEN)
            listener.close()
            self._listener = None
            return connection

    def started(self) -> None:
        """The program runs: the processor is free for others."""
        self._say(STARTED)

    def take_back(self) -> bool:
        """Be idle again, if the launcher is there and has a place."""
        if not self._say(FREE):
            return False
        try:
            answer, fds, _, _ = socket.recv_fds(self._line, 1, 1)
        except OSError:
            return False
        if answer != STAY or not fds:
            return False
        self._listener = socket.socket(fileno=fds[0])
        os.set_inheritable(fds[0], False)  # noqa: FBT003 - the standard library's own signature
        return True

    def leave(self) -> None:
        """Say that nothing is left behind."""
        self._say(OVER)

    def _say(self, word: bytes) -> bool:
        try:
            self._line.send(word)
        except OSError:
            return False
        return True


class Nursery:
    """The launcher's side."""

    def __init__(self, listener: socket.socket, warm: Warm, life: ShimLife) -> None:
        self._listener = listener
        self._warm = warm
        self._life = life
        self._lifeline = os.pipe()
        self._poller = select.poll()
        self._shims: dict[int, socket.socket] = {}
        self._idle: set[int] = set()

    def fill(self) -> None:
        """Fork what is needed at once; out of processes or memory, be content with less for now."""
        busy = len(self._shims) - len(self._idle)
        self._fill(SPARES if busy > 1 else 1)

    def _fill(self, wanted: int) -> None:
        while len(self._idle) < wanted:
            ours, theirs = socket.socketpair()
            try:
                child = os.fork()
            except OSError:
                ours.close()
                theirs.close()
                time.sleep(_BREATH_SECONDS)
                if self._idle:
                    return
                continue
            if child == 0:
                for line in (*self._shims.values(), ours):
                    line.close()
                os.close(self._lifeline[1])
                self._life(Desk(self._listener, self._lifeline[0], theirs))
            theirs.close()
            fd = ours.fileno()
            self._shims[fd] = ours
            self._idle.add(fd)
            self._poller.register(fd, select.POLLIN)

    def sweep(self) -> None:
        """Clear, in a process of its own, what shims that were killed left behind."""
        with suppress(OSError):
            if os.fork() == 0:
                try:
                    self._listener.close()
                    syscalls.set_process_name("lading-sweep")
                    for seconds in _SWEEPS:
                        time.sleep(seconds)
                        remains.sweep(self._warm.runtime_dir, self._warm.layout)
                finally:
                    os._exit(0)

    def attend(self, seconds: float) -> bool:
        """Listen to the shims; False if none had anything to say for ``seconds``."""
        if len(self._idle) < SPARES and seconds > _CALM_SECONDS:
            if not self._listen(_CALM_SECONDS):
                self._fill(SPARES)
            return True
        if len(self._idle) > SPARES and seconds > _QUIET_SECONDS:
            if not self._listen(_QUIET_SECONDS):
                fd = self._idle.pop()
                with suppress(OSError):
                    self._shims[fd].send(GO)
            return True
        return self._listen(seconds)

    def _listen(self, seconds: float) -> bool:
        ready = self._poller.poll(seconds * 1000)
        for fd, _ in ready:
            self._hear(fd)
        return bool(ready)

    def _hear(self, fd: int) -> None:
        line = self._shims[fd]
        try:
            words = line.recv(8)
        except OSError:
            words = b""
        if TAKEN in words:
            self._idle.discard(fd)
            if STARTED not in words:
                # Forking would take the processor away from the start; another client comes first.
                _readable(line, self._listener, seconds=_BREATH_SECONDS)
        if FREE in words:
            self._answer(fd, line)
        if OVER in words or not words:
            self._forget(fd)
        if not words:
            self.sweep()

    def _answer(self, fd: int, line: socket.socket) -> None:
        with suppress(OSError):
            if len(self._idle) < _KEPT:
                socket.send_fds(line, [STAY], [self._listener.fileno()])
                self._idle.add(fd)
            else:
                line.send(GO)

    def _forget(self, fd: int) -> None:
        self._poller.unregister(fd)
        self._idle.discard(fd)
        self._shims.pop(fd).close()


def _readable(*sockets: socket.socket, seconds: float) -> bool:
    """Whether one of them is, within ``seconds``; poll(2), which takes any descriptor."""
    poller = select.poll()
    for one in sockets:
        poller.register(one, select.POLLIN)
    return bool(poller.poll(seconds * 1000))
