"""Bytes between a container's terminal and the client's descriptors, for as long as the shim lives.

The client's descriptors are shared with others, so their flags are never changed: nothing is read
or written that poll(2) has not promised, and writes stay below what a ready descriptor takes.
"""

from __future__ import annotations

import errno
import os
import select
from typing import Final

_CHUNK: Final = 4096
_POLL_WRITE: Final = select.POLLOUT
_PATIENCE_MS: Final = 1000


class Relay:
    """One terminal. ``stdin`` and ``stdout`` are the client's, ``master`` is ours."""

    def __init__(self, poller: select.poll, *, master: int, stdin: int, stdout: int) -> None:
        self._poller = poller
        self._master = master
        self._stdin = stdin
        self._stdout = stdout
        self._to_client = b""
        self._to_container = b""
        os.set_blocking(master, False)
        self._update()

    def handles(self, fd: int) -> bool:
        """Whether an event of ``fd`` is the relay's."""
        return fd in (self._master, self._stdin, self._stdout)

    def step(self, fd: int, events: int) -> None:
        """Move what ``events`` of ``fd`` allow."""
        if fd == self._master:
            if events & (select.POLLIN | select.POLLHUP) and not self._to_client:
                self._read_master()
            if events & select.POLLOUT and self._to_container:
                self._write_master()
        if fd == self._stdin and events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._read_client()
        if fd == self._stdout:
            self._write_client(events)
        self._update()

    def drain(self) -> None:
        """Hand on what the terminal still holds, after the last process.

        A client that takes nothing for a second gets nothing more.
        """
        while self._master >= 0 or self._to_client:
            if self._to_client:
                writable = select.poll()
                writable.register(self._stdout, select.POLLOUT)
                ready = writable.poll(_PATIENCE_MS)
                if not ready:
                    return
                self._write_client(ready[0][1])
            elif select.select([self._master], [], [], 0)[0]:
                self._read_master()
            else:
                return

    def _read_master(self) -> None:
        try:
            self._to_client = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            # EIO is how a terminal says that nobody holds the other end.
            if error.errno != errno.EIO:
                raise
            self._to_client = b""
        if not self._to_client:
            self._forget(self._master)
            self._master = -1

    def _write_master(self) -> None:
        try:
            written = os.write(self._master, self._to_container)
        except BlockingIOError:
            return
        except OSError:
            written = len(self._to_container)
        self._to_container = self._to_container[written:]

    def _read_client(self) -> None:
        try:
            self._to_container = os.read(self._stdin, _CHUNK)
        except OSError:
            self._to_container = b""
        if not self._to_container:
            self._forget(self._stdin)
            self._stdin = -1

    def _write_client(self, events: int) -> None:
        if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            self._to_client = b""
            return
        try:
            written = os.write(self._stdout, self._to_client[:_CHUNK])
        except OSError:
            written = len(self._to_client)
        self._to_client = self._to_client[written:]

    def _forget(self, fd: int) -> None:
        try:
            self._poller.unregister(fd)
        except KeyError:
            return

    def _update(self) -> None:
        self._watch(self._stdout, _POLL_WRITE if self._to_client else 0)
        reading = 0 if self._to_client else select.POLLIN
        self._watch(self._master, reading | (_POLL_WRITE if self._to_container else 0))
        self._watch(self._stdin, 0 if self._to_container else select.POLLIN)

    def _watch(self, fd: int, events: int) -> None:
        if fd < 0:
            return
        if events:
            self._poller.register(fd, events)
        else:
            self._forget(fd)
