"""Plain progress: one line per event, the way BuildKit writes logs.

``#5 [build 2/4] RUN make``, then ``#5 0.123 text`` for each line it writes, then ``#5 DONE 0.3s``.
When output moves to another step, a blank line and the other step's title come first. Warnings come
last, together. On a terminal the control sequences of logs are left out, those for colours aside;
in a file or a pipe they stay, because whoever reads it knows better.
"""

from __future__ import annotations

from builder.progress.events import (
    Event,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)
from builder.progress.text import harmless, last_overwrite
from builder.progress.warnings import Warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TextIO

PARTIAL_LIMIT: Final = 64 << 10
"""Bytes without a line's end that are written as a line all the same."""


class PlainProgress:
    """Writes to ``out``, and flushes after each event.

    With ``explain`` the title of a step is followed by the reason why the cache did not answer it.
    """

    def __init__(self, out: TextIO, *, explain: bool = False) -> None:
        self._out = out
        self._explain = explain
        self._names: dict[int, str] = {}
        self._started: dict[int, float] = {}
        self._partial: dict[int, bytes] = {}
        self._current: int | None = None
        self._warnings = Warnings()
        self._guarded = out.isatty()

    def emit(self, event: Event) -> None:
        """Write the lines of one event."""
        match event:
            case VertexStarted(vertex=vertex, name=name, time=time, reason=reason):
                self._names[vertex], self._started[vertex] = harmless(name), time
                self._title(vertex)
                if reason and self._explain:
                    self._line(f"#{vertex} NOT CACHED: {reason}")
            case VertexCached(vertex=vertex, name=name):
                self._names[vertex] = harmless(name)
                self._title(vertex)
                self._finish(vertex, "CACHED")
            case VertexOutput():
                self._output(event)
            case VertexDone(vertex=vertex, time=time):
                self._flush(vertex, time)
                self._finish(vertex, f"DONE {self._since(vertex, time):.1f}s")
            case VertexFailed(vertex=vertex, time=time, cancelled=cancelled, message=message):
                self._flush(vertex, time)
                self._finish(vertex, "CANCELED" if cancelled else f"ERROR: {message}")
            case WarningRaised(message=message, where=where):
                self._warnings.add(harmless(message), harmless(where))
        self._flush_out()

    def close(self) -> None:
        """Write the warnings."""
        for line in self._warnings.lines():
            self._line(line)
        self._warnings = Warnings()
        self._flush_out()

    def _output(self, event: VertexOutput) -> None:
        lines = (self._partial.pop(event.vertex, b"") + event.data).split(b"\n")
        if len(lines[-1]) < PARTIAL_LIMIT:
            self._partial[event.vertex] = lines.pop()
        for line in lines:
            self._log(event.vertex, line, event.time)

    def _flush(self, vertex: int, time: float) -> None:
        rest = self._partial.pop(vertex, b"")
        if rest:
            self._log(vertex, rest, time)

    def _log(self, vertex: int, line: bytes, time: float) -> None:
        self._title(vertex)
        text = last_overwrite(line)
        if self._guarded:
            text = harmless(text, colours=True)
        self._line(f"#{vertex} {self._since(vertex, time):.3f} {text}".rstrip())

    def _since(self, vertex: int, time: float) -> float:
        return max(0.0, time - self._started.get(vertex, time))

    def _title(self, vertex: int) -> None:
        if self._current == vertex:
            return
        if self._current is not None:
            self._line(f"#{self._current} ...")
            self._line("")
        self._current = vertex
        self._line(f"#{vertex} {self._names[vertex]}")

    def _finish(self, vertex: int, ending: str) -> None:
        self._title(vertex)
        self._line(f"#{vertex} {ending}")
        self._line("")
        self._current = None

    def _line(self, text: str) -> None:
        try:
            self._out.write(f"{text}\n")
        except (OSError, ValueError):
            # The reader has gone, and with it everybody who could be told.
            return

    def _flush_out(self) -> None:
        try:
            self._out.flush()
        except (OSError, ValueError):
            return
