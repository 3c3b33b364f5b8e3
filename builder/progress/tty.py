"""Progress on a terminal: a live table of steps, with the last lines of those that run.

rich is imported when the first step really starts. A build that is answered from the cache pays
nothing for it: its table is written once, at the end.
"""

from __future__ import annotations

import os

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
    from collections.abc import Iterator
    from typing import Any, TextIO

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

LOG_LINES = 6
REFRESH_PER_SECOND = 8
VISIBLE_DONE = 12
"""Finished steps kept on screen while others run."""
_CODES = {"bold": 1, "red": 31, "yellow": 33, "blue": 34}
"""Select Graphic Rendition, ECMA-48 8.3.117."""


class _Row:
    def __init__(self, name: str, started: float, *, cached: bool = False) -> None:
        self.name = _printable(name)
        self.started = started
        self.ended = started if cached else None
        self.cached = cached
        self.error: str | None = None
        self.log: list[str] = []
        self.partial = b""


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
                self._start()
            case VertexCached(vertex=vertex, name=name, time=time):
                self._rows[vertex] = _Row(name, time, cached=True)
                self._first = time if self._first is None else self._first
            case VertexOutput(vertex=vertex, data=data):
                self._output(self._rows[vertex], data)
            case VertexDone(vertex=vertex, time=time):
                self._rows[vertex].ended = time
            case VertexFailed(vertex=vertex, message=message, time=time, cancelled=cancelled):
                row = self._rows[vertex]
                row.ended, row.error = time, "CANCELED" if cancelled else message
            case WarningRaised(message=message, where=where):
                text = f"{message} ({where})" if where else message
                self._warnings.append(_printable(text))

    def close(self) -> None:
        """Draw everything once more and give the terminal back."""
        self._finished = True
        if self._live is not None:
            self._live.stop()
        elif self._rows or self._warnings:
            self._write()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table as rich draws it."""
        from rich.text import Text

        for line, style in self._lines(options.max_width, options.max_height):
            # Warnings may take as many lines as they need.
            yield Text(line, style=style, no_wrap=style != "yellow", overflow="ellipsis")

    def _lines(self, width: int, height: int) -> Iterator[tuple[str, str]]:
        """Each line of the table with its style."""
        import time

        rows = list(self._rows.values())
        now = time.time()
        ended = sum(row.ended is not None for row in rows)
        last = max((row.ended or now for row in rows), default=now)
        elapsed = (last if self._finished else now) - (self._first or now)
        yield f"[+] Building {max(0.0, elapsed):.1f}s ({ended}/{len(rows)})", "bold"
        for row in self._shown(rows, height):
            yield self._title(row, now, width)
            if row.ended is None:
                for line in row.log[-LOG_LINES:]:
                    yield f" => => {line}", "dim"
        for warning in self._warnings:
            yield f" ! {warning}", "yellow"

    def _write(self) -> None:
        """The table of a build in which nothing had to run."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((80, 24))
        plain = not self._out.isatty() or "NO_COLOR" in os.environ
        plain = plain or os.environ.get("TERM", "dumb") == "dumb"
        for line, style in self._lines(size.columns or 80, size.lines):
            code = None if plain else _CODES.get(style)
            self._out.write(f"{line}\n" if code is None else f"\x1b[{code}m{line}\x1b[0m\n")
        self._out.flush()

    def _shown(self, rows: list[_Row], height: int) -> list[_Row]:
        if self._finished:
            return rows
        done = [row for row in rows if row.ended is not None]
        hidden = {id(row) for row in done[: -min(VISIBLE_DONE, max(1, height - 10))]}
        return [row for row in rows if id(row) not in hidden]

    def _title(self, row: _Row, now: float, width: int) -> tuple[str, str]:
        seconds = f"{max(0.0, (row.ended or now) - row.started):.1f}s"
        head = " => " + ("CACHED " if row.cached else "ERROR " if row.error else "")
        room = max(10, width - len(seconds) - 2)
        text = f"{head}{row.name}"
        text = text if len(text) <= room else text[: room - 1] + "…"
        style = "red" if row.error else "blue" if row.ended is not None else ""
        return f"{text.ljust(room)} {seconds}", style

    def _output(self, row: _Row, data: bytes) -> None:
        lines = (row.partial + data).split(b"\n")
        row.partial = lines.pop()
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
            row.log.append(_printable(text))
        del row.log[:-LOG_LINES]

    def _start(self) -> None:
        if self._live is not None:
            return
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


def _printable(text: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)
