"""Writes of several threads: one batch for all that wait, each with its own outcome."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from registry.database import Write
from registry.gathering import Gathering
from registry.sql.errors import DatabaseError

_PATIENCE = 60.0


class Batches:
    """Runs batches, the first one only once it may end."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def run(self, writes: Sequence[Write]) -> None:
        self.sizes.append(len(writes))
        self.begun.set()
        assert self.may_end.wait(_PATIENCE)
        for write in writes:
            try:
                write.value = write.operation()
            except ValueError as error:
                write.error = error


def test_what_waits_is_one_batch() -> None:
    batches = Batches()
    gathering = Gathering(batches.run)
    writes = [Write("a", lambda number=number: number) for number in range(10)]
    threads = [threading.Thread(target=gathering.apply, args=([write],)) for write in writes]
    threads[0].start()
    assert batches.begun.wait(_PATIENCE)
    for thread in threads[1:]:
        thread.start()
    while len(gathering._waiting) < 9:
        threading.Event().wait(0.01)
    batches.may_end.set()
    for thread in threads:
        thread.join()
    assert batches.sizes == [1, 9]
    assert [write.value for write in writes] == list(range(10))


def test_batches_have_a_limit() -> None:
    batches = Batches()
    batches.may_end.set()
    gathering = Gathering(batches.run)
    for count in (300, 1):
        gathering.apply([Write("a", int) for _ in range(count)])
    assert batches.sizes == [300, 1]


def test_who_leads_and_is_broken_off_leaves_nobody_waiting() -> None:
    def interrupted(_: Sequence[Write]) -> None:
        raise KeyboardInterrupt

    write = Write("a", int)
    with suppress(KeyboardInterrupt):
        Gathering(interrupted).apply([write])
    assert isinstance(write.error, DatabaseError)
