"""What a pull or push reports while it runs; drawing it is somebody else's job.

States and their order are those that Docker shows for a layer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from records import Record

if TYPE_CHECKING:
    from images.digest import Digest


class LayerState(StrEnum):
    """Where one blob stands."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    RETRYING = "retrying"
    VERIFYING = "verifying"
    DONE = "done"
    EXISTS = "exists"
    MOUNTED = "mounted"
    SKIPPED = "skipped"


class LayerEvent(Record):
    """One blob moved on; ``current`` and ``total`` are bytes, ``detail`` a word to the reader."""

    digest: Digest
    state: LayerState
    current: int
    total: int
    detail: str = ""


class StatusEvent(Record):
    """A line about the whole transfer; ``id`` is the tag or digest it speaks of."""

    text: str
    id: str = ""


Event = LayerEvent | StatusEvent


class ProgressSink(Protocol):
    """Receives events in order, on the event loop's thread; it must not block."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""


def ignore(event: Event, /) -> None:
    """Show nothing."""
