"""The live table as lines of text, for any size of terminal; draws nothing itself.

While a build goes on the table never has more lines than the screen, so that it can be redrawn in
place: running steps come first, then the tails of their logs, then as many finished steps as there
is room for. At the end every step has its line.
"""

from __future__ import annotations

from builder.progress.events import (
    LayerStored,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)
from builder.progress.text import fit, harmless, last_overwrite, pad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final, TypeAlias

    from builder.progress.events import Event
    from builder.progress.warnings import Warnings

    Line: TypeAlias = tuple[str, str]
    """Text and the field of the palette that colours it."""

LOG_LINES: Final = 6
"""Of each running step; BUILDKIT_TTY_LOG_LINES overrides it."""
VISIBLE_DONE: Final = 12
"""Finished steps kept on screen while others run."""
PARTIAL_LIMIT: Final = 16 << 10
"""Bytes of an unfinished line that are kept."""
NARROW: Final = 24
"""Columns below which a step's time is left out."""


class Row:
    """One step."""

    def __init__(self, name: str, started: float, *, cached: bool = False) -> None:
        self.name = harmless(name)
        self.started = started
        self.ended = started if cached else None
        self.cached = cached
        self.error = False
        self.cancelled = False
        self.log: list[str] = []
        self.partial = b""

    def output(self, data: bytes, keep: int) -> None:
        """The step wrote something; its last ``keep`` lines stay."""
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()[-PARTIAL_LIMIT:]
        self.log += [harmless(last_overwrite(line)) for line in lines[-keep:]] if keep else []
        del self.log[: max(0, len(self.log) - keep)]

    def tail(self) -> list[str]:
        """The log as it would stand on the screen, the unfinished line included."""
        unfinished = harmless(last_overwrite(self.partial))
        return [*self.log, unfinished] if unfinished.strip() else self.log


class Table:
    """What is known of a build so far."""

    def __init__(self, *, log_lines: int = LOG_LINES) -> None:
        self.rows: dict[int, Row] = {}
        self.warnings: Warnings | None = None
        self._log_lines = log_lines
        self._first: float | None = None

    def take(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case VertexStarted(vertex=vertex, name=name, time=time):
                self.rows[vertex] = Row(name, time)
                self._first = time if self._first is None else self._first
            case VertexCached(vertex=vertex, name=name, time=time):
                self.rows[vertex] = Row(name, time, cached=True)
                self._first = time if self._first is None else self._first
            case VertexOutput(vertex=vertex, data=data):
                self.rows[vertex].output(data, self._log_lines)
            case VertexDone(vertex=vertex, time=time):
                self.rows[vertex].ended = time
            case VertexFailed(vertex=vertex, time=time, cancelled=cancelled):
                row = self.rows[vertex]
                row.ended, row.cancelled, row.error = time, cancelled, not cancelled
            case WarningRaised(message=message, where=where):
                self._warn(harmless(message), harmless(where))
            case LayerStored():
                pass

    def final(self, width: int, now: float) -> Iterator[Line]:
        """Everything, as it stays on the screen when the build is over."""
        rows = list(self.rows.values())
        last = max((row.ended or now for row in rows), default=now)
        well = all(row.ended is not None and not (row.error or row.cancelled) for row in rows)
        yield self._head(last, width, "FINISHED" if well else "")
        for row in rows:
            yield _title(row, now, width)
        if self.warnings is not None:
            yield from ((f" {line}", "warning") for line in self.warnings.lines())

    def live(self, width: int, height: int, now: float) -> list[Line]:
        """What there is room for in ``height`` lines of ``width`` columns."""
        if height < 1:
            return []
        head = self._head(now, width, "")
        room = height - 1
        running = [row for row in self.rows.values() if row.ended is None]
        more = len(running) - room
        if more > 0:
            # The line that counts the rest takes a place too.
            running = running[: max(0, room - 1)]
        shown = set(map(id, running))
        room -= len(running) + (1 if more > 0 else 0)
        done = [row for row in self.rows.values() if row.ended is not None]
        wanted = sum(min(len(row.tail()), self._log_lines) for row in running)
        kept_done = min(len(done), VISIBLE_DONE, max(room - wanted, room // 3))
        shown |= {id(row) for row in done[len(done) - kept_done :]}
        tails = _share(running, room - kept_done, self._log_lines)
        lines = [head]
        for row in self.rows.values():
            if id(row) in shown:
                lines.append(_title(row, now, width))
                lines += [(fit(f" => => {text}", width), "dim") for text in tails.get(id(row), ())]
        if more > 0 and len(lines) < height:
            lines.append((fit(f" => and {more + 1} more", width), "dim"))
        return lines

    def _warn(self, message: str, where: str) -> None:
        if self.warnings is None:
            from builder.progress.warnings import Warnings

            self.warnings = Warnings()
        self.warnings.add(message, where)

    def _head(self, now: float, width: int, state: str) -> Line:
        rows = self.rows.values()
        ended = sum(row.ended is not None for row in rows)
        elapsed = max(0.0, now - (now if self._first is None else self._first))
        text = f"[+] Building {elapsed:.1f}s ({ended}/{len(rows)})"
        return fit(f"{text} {state}".rstrip(), width), "bold"


def _share(running: Sequence[Row], room: int, most: int) -> dict[int, list[str]]:
    """The last lines of each log, so many that all of them together fit."""
    tails = {id(row): row.tail()[-most:] if most else [] for row in running}
    for keep in range(most, -1, -1):
        if sum(min(len(tail), keep) for tail in tails.values()) <= room:
            return {key: tail[len(tail) - min(keep, len(tail)) :] for key, tail in tails.items()}
    return {}


def _title(row: Row, now: float, width: int) -> Line:
    state = "CACHED " if row.cached else "ERROR " if row.error else ""
    text = f" => {'CANCELED ' if row.cancelled else state}{row.name}"
    style = "error" if row.error else "cancel" if row.cancelled else ""
    if not style and row.ended is not None:
        style = "run"
    seconds = f"{max(0.0, (now if row.ended is None else row.ended) - row.started):.1f}s"
    if width < NARROW:
        return fit(text, width), style
    return f"{pad(text, width - len(seconds) - 1)} {seconds}", style
