"""Numbers steps, stamps times and hands events to one sink, from any thread."""

from __future__ import annotations

import time
from _thread import allocate_lock  # all of threading that is needed here
from collections.abc import Callable
from itertools import count

from builder.progress.events import (
    Event,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final

    from builder.progress.events import ProgressSink
    from builder.request import Change

TAIL_LINES: Final = 20
"""Log lines kept of each step for an error message."""
TAIL_BYTES: Final = 16 << 10


class Vertex:
    """One running step, as the builder sees it; as a block it ends with that, well or badly."""

    def __init__(self, tracker: Tracker, number: int) -> None:
        self._tracker = tracker
        self.number = number
        self._tail = bytearray()

    def output(self, stream: int, data: bytes) -> None:
        """The step wrote ``data``."""
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        now = self._tracker.now()
        self._tracker.send(VertexOutput(self.number, stream, bytes(data), now))

    def done(self) -> None:
        """The step ended well."""
        self._tracker.send(VertexDone(self.number, self._tracker.now()))

    def failed(self, message: str, *, cancelled: bool = False) -> None:
        """The step ended badly."""
        event = VertexFailed(self.number, message, self._tracker.now(), cancelled)
        self._tracker.send(event)

    def __enter__(self) -> Vertex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.done()
            return
        from builder.errors import BuildCancelledError

        cancelled = isinstance(error, BuildCancelledError | KeyboardInterrupt)
        self.failed(str(error), cancelled=cancelled)

    def tail(self) -> list[str]:
        """The last lines the step wrote."""
        return self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]


class Tracker:
    """The builder's end of the progress display; ``clock`` gives seconds since the epoch.

    Builds and stations that are shown together share one; closing ``sink`` is its maker's.
    """

    def __init__(self, sink: ProgressSink, clock: Callable[[], float] = time.time) -> None:
        self.now = clock
        self._sinks: tuple[ProgressSink, ...] = (sink,)
        self._lock = allocate_lock()
        self._number = count(1)
        self._label = ""

    def labelled(self, label: str) -> Tracker:
        """A tracker of the same display whose steps say whose they are: ``[label build 1/2]``."""
        tracker = self._like(self._sinks)
        tracker._label = label
        return tracker

    def seen_by(self, sink: ProgressSink) -> Tracker:
        """A tracker of the same display, whose own events ``sink`` sees too."""
        return self._like((*self._sinks, sink))

    def _like(self, sinks: tuple[ProgressSink, ...]) -> Tracker:
        tracker = Tracker(sinks[0], self.now)
        tracker._sinks = sinks
        tracker._lock, tracker._number, tracker._label = self._lock, self._number, self._label
        return tracker

    def _named(self, name: str) -> str:
        if not self._label:
            return name
        rest = f" {name[1:]}" if name.startswith("[") else f"] {name}"
        return f"[{self._label}{rest}"

    def start(
        self,
        name: str,
        reason: str = "",
        *,
        where: str = "",
        inputs: tuple[int, ...] = (),
        changes: tuple[Change, ...] = (),
    ) -> Vertex:
        """A step begins; ``reason`` says why the cache did not answer it.

        The rest is as in ``VertexStarted``.
        """
        with self._lock:
            vertex = next(self._number)
            self._emit(
                VertexStarted(vertex, self._named(name), self.now(), reason, where, inputs, changes)
            )
            return Vertex(self, vertex)

    def cached(
        self, name: str, reason: str = "", *, where: str = "", inputs: tuple[int, ...] = ()
    ) -> int:
        """A step was answered from the cache; returns its number."""
        with self._lock:
            vertex = next(self._number)
            self._emit(VertexCached(vertex, self._named(name), self.now(), reason, where, inputs))
            return vertex

    def warn(self, message: str, where: str = "") -> None:
        """Tell the author something."""
        self.send(WarningRaised(message, where))

    def send(self, event: Event) -> None:
        """Hand over one event."""
        with self._lock:
            self._emit(event)

    def _emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink.emit(event)
