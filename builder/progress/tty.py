"""Progress on a terminal: a live table of steps, with the last lines of those that run.

rich is imported when the first event arrives, so a build that is not shown on a terminal never pays
for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from builder.progress.events import (
    Event,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.text import Text

LOG_LINES = 6
REFRESH_PER_SECOND = 8
VISIBLE_DONE = 12
"""Finished steps kept on screen while others run."""


@dataclass(slots=True)
class _Row:
    name: str
    started: float
    ended: float | None = None
    cached: bool = False
    error: str | None = None
    log: list[str] = field(default_factory=list)
    partial: bytes = b""


class TtyProgress:
    """Redraws ``out`` in place; the whole table is left behind when the build is over."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rows: dict[int, _Row] = {}
        self._warnings: list[str] = []
        self._live: Live | None = None
        self._first: float | None = None
        self._finished = False

    def emit(self, event: Event) -> None:
        """Take one event into the table; drawing happens on rich's own clock."""
        match event:
            case VertexStarted(vertex=vertex, name=name, time=time):
                self._rows[vertex] = _Row(name, time)
                self._first = time if self._first is None else self._first
            case VertexCached(vertex=vertex, name=name, time=time):
                self._rows[vertex] = _Row(name, time, time, cached=True)
                self._first = time if self._first is None else self._first
            case VertexOutput(vertex=vertex, data=data):
                self._output(self._rows[vertex], data)
            case VertexDone(vertex=vertex, time=time):
                self._rows[vertex].ended = time
            case VertexFailed(vertex=vertex, message=message, time=time, cancelled=cancelled):
                row = self._rows[vertex]
                row.ended, row.error = time, "CANCELED" if cancelled else message
            case WarningRaised(message=message, where=where):
                self._warnings.append(f"{message} ({where})" if where else message)
        if self._live is None:
            self._start()

    def close(self) -> None:
        """Draw everything once more and give the terminal back."""
        self._finished = True
        if self._live is not None:
            self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table as rich draws it."""
        import time

        from rich.text import Text

        rows = list(self._rows.values())
        now = time.time()
        ended = sum(row.ended is not None for row in rows)
        last = max((row.ended or now for row in rows), default=now)
        elapsed = (last if self._finished else now) - (self._first or now)
        yield Text(f"[+] Building {max(0.0, elapsed):.1f}s ({ended}/{len(rows)})", style="bold")
        for row in self._shown(rows, options.max_height):
            yield self._title(row, now, options.max_width)
            if row.ended is None:
                for line in row.log[-LOG_LINES:]:
                    yield Text(f" => => {line}", style="dim", no_wrap=True, overflow="ellipsis")
        for warning in self._warnings:
            yield Text(f" ! {warning}", style="yellow")

    def _shown(self, rows: list[_Row], height: int) -> list[_Row]:
        if self._finished:
            return rows
        done = [row for row in rows if row.ended is not None]
        hidden = {id(row) for row in done[: -min(VISIBLE_DONE, max(1, height - 10))]}
        return [row for row in rows if id(row) not in hidden]

    def _title(self, row: _Row, now: float, width: int) -> Text:
        from rich.text import Text

        seconds = f"{max(0.0, (row.ended or now) - row.started):.1f}s"
        head = " => " + ("CACHED " if row.cached else "ERROR " if row.error else "")
        room = max(10, width - len(seconds) - 2)
        text = f"{head}{row.name}"
        text = text if len(text) <= room else text[: room - 1] + "…"
        style = "red" if row.error else "blue" if row.ended is not None else ""
        return Text(text.ljust(room) + " " + seconds, style=style, no_wrap=True)

    def _output(self, row: _Row, data: bytes) -> None:
        lines = (row.partial + data).split(b"\n")
        row.partial = lines.pop()
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
            row.log.append("".join(char if char.isprintable() else " " for char in text))
        del row.log[:-LOG_LINES]

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        renderable: Any = self
        self._live = Live(
            renderable,
            console=Console(file=self._out),
            refresh_per_second=REFRESH_PER_SECOND,
            vertical_overflow="visible",
        )
        self._live.start()
