"""A step as a block: however the block ends, the display is told."""

from __future__ import annotations

import pytest

from builder.errors import BuildCancelledError
from builder.progress.events import Event, VertexDone, VertexFailed, VertexStarted
from builder.progress.tracker import Tracker


class Events(list[Event]):
    """A sink that keeps what it is told."""

    emit = list.append

    def close(self) -> None:
        """Nothing is open."""


def test_a_block_that_ends_well() -> None:
    events = Events()
    with Tracker(events, lambda: 7.0).start("work") as vertex:
        assert [type(event) for event in events] == [VertexStarted]
    assert events[1:] == [VertexDone(vertex.number, 7.0)]


@pytest.mark.parametrize(
    ("error", "cancelled"),
    [(ValueError("odd"), False), (BuildCancelledError("stop"), True), (KeyboardInterrupt(), True)],
    ids=lambda value: type(value).__name__,
)
def test_a_block_that_fails(error: BaseException, *, cancelled: bool) -> None:
    events = Events()
    with pytest.raises(type(error)), Tracker(events, lambda: 7.0).start("work") as vertex:
        raise error
    assert events[1:] == [VertexFailed(vertex.number, str(error), 7.0, cancelled)]
