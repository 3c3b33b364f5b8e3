"""Our own terminal while a container has it: raw mode, size, and putting everything back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


def size_of(descriptor: int) -> tuple[int, int] | None:
    """Rows and columns of a terminal; None for anything else."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return size.lines, size.columns


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the program and every byte to the screen; restored whatever happens.

    Anything but a terminal is left alone. termios(3), ``cfmakeraw``.
    """
    if not os.isatty(descriptor):
        yield
        return
    import termios

    before = termios.tcgetattr(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[_IFLAG] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    mode[_OFLAG] &= ~termios.OPOST
    mode[_LFLAG] &= ~(
        termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
    )
    mode[_CFLAG] = mode[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
