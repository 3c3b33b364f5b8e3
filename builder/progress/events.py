"""What happens in a build, as values; renderers turn them into text.

``vertex`` numbers a step in the order in which steps first show up, from 1. Times are seconds
since the epoch.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    from builder.request import Change

    class ProgressSink(Protocol):
        """Takes events, one at a time; those that it has no use for are to be passed over."""

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
    where: str = ""
    """``Dockerfile:3``."""
    inputs: tuple[int, ...] = ()
    """Vertices whose results it reads."""
    changes: tuple[Change, ...] = ()
    """All that differs from the nearest step on record."""


class VertexCached(Record):
    """A step was answered from the cache; it neither started nor will it end."""

    vertex: int
    name: str
    time: float
    reason: str = ""
    where: str = ""
    inputs: tuple[int, ...] = ()


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


class LayerStored(Record):
    """The layer of a step is in the store; for a step that was done, perhaps after its end.

    ``digest`` is that of the blob, ``size`` its bytes.
    """

    vertex: int
    digest: str
    size: int
    time: float


class DefinitionRead(Record):
    """A Dockerfile was read."""

    name: str
    content: bytes


class MaterialFound(Record):
    """What a name outside of the build stands for: a base image, a downloaded file."""

    name: str
    digest: str


class ContextRead(Record):
    """A build context was looked at: its files, as the ignore file leaves them, and their bytes."""

    files: int
    size: int


class WarningRaised(Record):
    """Something the author should know; ``where`` is ``file:line`` or empty."""

    message: str
    where: str = ""


Event: TypeAlias = (
    VertexStarted
    | VertexCached
    | VertexOutput
    | VertexDone
    | VertexFailed
    | LayerStored
    | DefinitionRead
    | ContextRead
    | MaterialFound
    | WarningRaised
)
