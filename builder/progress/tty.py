"""Progress on a terminal: a live table of steps, with the last lines of those that run.

Each frame is one write that begins by hiding the cursor and ends by showing it, so a process that
is killed leaves a sane terminal whatever it was doing. A build that is answered from the cache
starts no thread: its table is written once, at the end.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock  # all of threading that is needed here

from builder.progress.events import VertexStarted
from builder.progress.table import LOG_LINES, Table
from builder.progress.text import cells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from threading import Event as Signal
    from threading import Thread
    from typing import Final, TextIO

    from builder.progress.colours import Palette
    from builder.progress.events import Event
    from builder.progress.table import Line

FRAME_SECONDS: Final = 0.1
_BEGIN, _END = "\x1b[?2026h\x1b[?25l", "\x1b[?25h\x1b[?2026l"
"""The frame shows at once where synchronised output is known; elsewhere the modes are ignored."""
_REFLOWING: Final = (
    "VTE_VERSION",
    "KITTY_WINDOW_ID",
    "KONSOLE_VERSION",
    "WT_SESSION",
    "TMUX",
    "ALACRITTY_WINDOW_ID",
    "WEZTERM_PANE",
    "GHOSTTY_RESOURCES_DIR",
)
"""Variables of terminals that break lines anew when their window becomes narrower."""


class TtyProgress:
    """Redraws ``out`` in place; the whole table is left behind when the build is over.

    ``clock`` gives seconds since the epoch, as the events have them.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._out = out
        self._clock = clock
        self._palette = _palette(environment) if _is_terminal(out) else None
        self._table = Table(log_lines=_log_lines(environment))
        self._reflows = any(environment.get(name) for name in _REFLOWING)
        self._drawn: list[int] = []
        """Columns that each line of the latest frame took."""
        self._lock = allocate_lock()
        self._thread: Thread | None = None
        self._stop: Signal | None = None

    def emit(self, event: Event) -> None:
        """Take one event into the table; drawing happens on a clock of its own."""
        with self._lock:
            self._table.take(event)
        if self._stop is None and isinstance(event, VertexStarted):
            self._start()

    def close(self) -> None:
        """Draw everything once more and give the terminal back; a second time does nothing."""
        if self._stop is not None:
            if self._stop.is_set():
                return
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
        if self._table.rows or self._table.warnings:
            width, _ = self._size()
            self._draw(list(self._table.final(width, self._clock())), width, final=True)
        self._table = Table()

    def _start(self) -> None:
        import threading

        self._stop = threading.Event()
        if _is_terminal(self._out):
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        assert self._stop is not None
        while not self._stop.wait(FRAME_SECONDS):
            width, height = self._size()
            with self._lock:
                # The line below the table holds the cursor.
                lines = self._table.live(width, height - 1, self._clock())
            self._draw(lines, width)

    def _draw(self, lines: Sequence[Line], width: int, *, final: bool = False) -> None:
        """Replace the latest frame; a terminal that has gone is nobody's loss."""
        paint = _unpainted if self._palette is None else self._palette.paint
        erase = "\x1b[K" if self._thread is not None else ""
        text = "".join(f"{paint(line, style)}{erase}\n" for line, style in lines)
        if self._thread is not None:
            below = "\x1b[J"
            text = f"{_BEGIN}{self._back(width)}{text}{below}{_END}"
        self._drawn = [] if final else [cells(line) for line, _ in lines]
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            return

    def _back(self, width: int) -> str:
        """To where the latest frame began."""
        rows = len(self._drawn)
        if self._reflows:
            # What was wider than the screen is now has become several rows.
            rows = sum(max(1, -(-taken // (width + 1))) for taken in self._drawn)
        return f"\x1b[{rows}A\r" if rows else "\r"

    def _size(self) -> tuple[int, int]:
        """Columns and lines to draw in; in the last column terminals differ, so it stays free."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return 79, 24
        return max(1, (size.columns or 80) - 1), size.lines or 24


def _is_terminal(out: TextIO) -> bool:
    try:
        return out.isatty()
    except ValueError:
        return False


def _palette(environment: Mapping[str, str]) -> Palette:
    from builder.progress.colours import palette_of

    return palette_of(environment)


def _unpainted(text: str, style: str) -> str:
    return text


def _log_lines(environment: Mapping[str, str]) -> int:
    text = environment.get("BUILDKIT_TTY_LOG_LINES", "")
    return min(int(text), 1000) if text.isdecimal() else LOG_LINES
