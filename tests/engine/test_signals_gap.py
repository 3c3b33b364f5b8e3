"""A signal that comes while a container is being started reaches the container."""

from __future__ import annotations

import signal
import threading

from engine.containers.signals import forwarded, held_back


class Told:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def kill(self, signum: int) -> None:
        self.numbers.append(signum)

    def resize(self, rows: int, columns: int) -> None:
        raise AssertionError("there is no terminal")


def test_what_comes_before_the_handlers_waits_for_them() -> None:
    container = Told()
    with held_back():
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        handlers = forwarded(container)
        handlers.__enter__()
        assert container.numbers == []
    try:
        assert container.numbers == [signal.SIGTERM]
    finally:
        handlers.__exit__(None, None, None)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
