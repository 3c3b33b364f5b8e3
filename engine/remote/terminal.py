"""A shell in a step that failed at another machine, on the terminal of whoever ordered the build.

The end that builds has a terminal made for it (pty(7)) and repeats what it shows; the client
repeats what is typed, and how large its own terminal is.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from engine.containers.terminal import raw, size_of
from engine.remote.errors import ChannelError
from engine.remote.message import Message, as_text

if TYPE_CHECKING:
    from pathlib import Path

    from builder.runner import RunStep
    from engine.remote.channel import Channel

PIECE: Final = 32 << 10
"""Bytes of a terminal in one message."""
SIZE_LIMIT: Final = 10_000
LOOK_SECONDS: Final = 0.5
"""How often sizes and ends are looked at."""


class ShellThere:
    """At the end that builds: a ``builder.runner.FailureInspector``."""

    def __init__(self, channel: Channel, runtime_dir: Path, *, term: str) -> None:
        self._channel = channel
        self._runtime_dir = runtime_dir
        self._term = term
        self._lock = threading.Lock()
        self._master = -1
        self._ended = threading.Event()

    def __call__(self, step: RunStep, message: str) -> None:
        """Run a shell to its end, or to that of the client."""
        from engine.builds.failed_step import FailedStepShell

        master, slave = os.openpty()
        with self._lock:
            self._master = master
        self._ended.clear()
        repeating = threading.Thread(target=self._repeat, args=(master,), daemon=True)
        repeating.start()
        try:
            self._channel.send("shell")
            shell = FailedStepShell(self._runtime_dir, stdio=(slave, slave, slave), term=self._term)
            shell(step, message)
        finally:
            os.close(slave)
            self._ended.set()
            repeating.join()
            with suppress(ChannelError):
                self._channel.send("shell-end")

    def take(self, message: Message) -> None:
        """What the client says of its terminal.

        Raises:
            ChannelError: that makes no sense.
        """
        if message.kind == "input":
            data = message.data("data", limit=PIECE)
            with self._lock:
                if self._master >= 0:
                    # Nobody reads it: what is typed ahead of that is lost, as on any terminal.
                    with suppress(OSError):
                        os.write(self._master, data)
            return
        rows = message.number("rows", high=SIZE_LIMIT)
        columns = message.number("columns", high=SIZE_LIMIT)
        with self._lock:
            if self._master >= 0:
                size = struct.pack("HHHH", rows, columns, 0, 0)
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def end(self) -> None:
        """The client is gone: the shell's terminal hangs up."""
        self._ended.set()

    def _hang_up(self) -> None:
        with self._lock:
            master, self._master = self._master, -1
        if master >= 0:
            os.close(master)

    def _repeat(self, master: int) -> None:
        """Send what is shown, to the end of it; then nobody holds the terminal."""
        with suppress(OSError, ChannelError):
            while not self._ended.is_set() or select.select([master], [], [], 0)[0]:
                if select.select([master], [], [], LOOK_SECONDS)[0]:
                    data = os.read(master, PIECE)
                    self._channel.send("terminal", data=as_text(data))
        self._hang_up()


class ShellHere:
    """At the client: its own terminal for the length of a shell there."""

    def __init__(self, channel: Channel, *, stdio: tuple[int, int] = (0, 1)) -> None:
        self._channel = channel
        self._stdio = stdio
        self._stack = ExitStack()

    def begin(self) -> None:
        """From here on what is typed goes there."""
        stop, stopper = os.pipe2(os.O_CLOEXEC)
        self._stack.enter_context(raw(self._stdio[0]))
        typing = threading.Thread(target=self._type, args=(stop,), daemon=True)
        typing.start()
        self._stack.callback(os.close, stop)
        self._stack.callback(typing.join)
        self._stack.callback(os.close, stopper)

    def show(self, message: Message) -> None:
        """What the shell's terminal shows.

        Raises:
            ChannelError: no bytes.
        """
        data = message.data("data", limit=PIECE)
        while data:
            data = data[os.write(self._stdio[1], data) :]

    def end(self) -> None:
        """The terminal is as it was; harmless when repeated."""
        self._stack.close()

    def _type(self, stop: int) -> None:
        size = None
        watched = [self._stdio[0], stop]
        with suppress(OSError, ChannelError):
            while True:
                now = size_of(self._stdio[1])
                if now is not None and now != size:
                    size = now
                    self._channel.send("size", rows=now[0], columns=now[1])
                ready, _, _ = select.select(watched, [], [], LOOK_SECONDS)
                if stop in ready:
                    return
                if self._stdio[0] in ready:
                    data = os.read(self._stdio[0], PIECE)
                    if not data:
                        watched = [stop]
                        data = b"\x04"  # The end of what is typed, as a terminal has it.
                    self._channel.send("input", data=as_text(data))
