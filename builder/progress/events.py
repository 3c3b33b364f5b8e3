"""What happens in a build, as values; renderers turn them into text.

``vertex`` numbers a step in the order in which steps first show up, from 1. Times are seconds
since the epoch.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    class ProgressSink(Protocol):
        """Takes events, one at a time."""

        def emit(self, event: Event) -> None:
            """Take one event; must not raise for a closed terminal."""

        def close(self) -> None:
            """The build is over, well or badly."""


class VertexStarted(Record):
    """A step began; ``reason`` says why the cache did not answer it, where it was asked."""

    vertex: int
    name: str
    time: float
    reason: str = ""


class VertexCached(Record):
    """A step was answered from the cache; it neither started nor will it end."""

    vertex: int
    name: str
    time: float


class VertexOutput(Record):
    """Bytes that a step wrote, as they came: lines may be split over events."""

    vertex: int
    stream: int
    data: bytes
    time: float


class VertexDone(Record):
    """A step ended well."""

    vertex: int
    time: float


class VertexFailed(Record):
    """A step ended badly, or was cancelled."""

    vertex: int
    message: str
    time: float
    cancelled: bool = False


class WarningRaised(Record):
    """Something the author should know; ``where`` is ``file:line`` or empty."""

    message: str
    where: str = ""


Event: TypeAlias = (
    VertexStarted | VertexCached | VertexOutput | VertexDone | VertexFailed | WarningRaised
)
