"""Signals on their way to the container, and the patience of someone who presses ctrl-c three
times.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from engine.containers.terminal import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Target(Protocol):
        """What signals and sizes are for; ``runtime.client.Container`` is one."""

        def kill(self, signum: int) -> None:
            """Send a signal."""

        def resize(self, rows: int, cols: int) -> None:
            """Tell the terminal's size."""


PATIENCE = 3
"""Requests to end that are passed on before the container is killed."""

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCONT,
    signal.SIGIO,
    signal.SIGPWR,
)
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """We were told to end while the terminal is the container's; carries the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals that are to be passed on wait: a container may run before anybody can tell it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def forwarded(container: Target) -> Iterator[None]:
    """Pass signals on to the container instead of being hit by them.

    The ``PATIENCE``-th request to end kills it, for a first process that ignores them all.
    """
    count = 0

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal count
        count += number in (signal.SIGINT, signal.SIGTERM)
        container.kill(signal.SIGKILL if count >= PATIENCE else number)

    with _handling(dict.fromkeys(_FORWARDED, forward)):
        yield


@contextmanager
def terminal_signals(container: Target, descriptor: int) -> Iterator[None]:
    """Follow the size of our terminal; a request to end us raises ``Interrupted``."""

    def resize(*_: object) -> None:
        size = size_of(descriptor)
        if size is not None:
            container.resize(*size)

    def end(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling({signal.SIGWINCH: resize, **dict.fromkeys(_ENDING, end)}):
        resize()
        yield


@contextmanager
def _handling(
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]],
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
