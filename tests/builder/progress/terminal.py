"""A pseudo-terminal with an emulator behind it: what a person would see."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import threading
import time
from collections.abc import Callable
from typing import TextIO

import pyte

PATIENCE = 60.0
BEGIN, END = b"\x1b[?2026h", b"\x1b[?2026l"


class Terminal:
    """``out`` is the program's end; ``screen`` what has been drawn; ``raw`` all bytes."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._master, self.slave = os.openpty()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._lock = threading.Lock()
        self._sized(columns, lines)
        self.out: TextIO = open(os.dup(self.slave), "w")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self._sized(columns, lines)
            self.screen.resize(lines, columns)

    def display(self) -> list[str]:
        """The lines of the screen, without the blanks behind."""
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    def text(self) -> str:
        return "\n".join(self.display()).rstrip()

    def wait(self, condition: Callable[[str], bool]) -> str:
        """The screen, once it is as it should be and no frame is half drawn."""
        deadline = time.monotonic() + PATIENCE
        while self._is_drawing() or not condition(text := self.text()):
            if time.monotonic() > deadline:
                raise AssertionError(f"the screen never came to be so:\n{self.text()}")
            time.sleep(0.01)
        return text

    def _is_drawing(self) -> bool:
        """Whether the terminal has got a part of a frame: the pieces that it reads end anywhere."""
        with self._lock:
            return self.raw.rfind(BEGIN) > self.raw.rfind(END)

    def close(self) -> None:
        """Hang up, when everything has been read."""
        if not self.out.closed:
            self.out.close()
        os.close(self.slave)
        self._reader.join(PATIENCE)
        os.close(self._master)

    def _sized(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)
