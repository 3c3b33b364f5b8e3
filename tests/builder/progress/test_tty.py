"""The live table on a real pseudo-terminal, read back from a terminal emulator's screen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.progress.tracker import Tracker
from builder.progress.tty import TtyProgress
from tests.builder.progress.terminal import Terminal
from tests.builder.progress.test_render import Clock

FRAME = re.compile(rb"\x1b\[\?2026h\x1b\[\?25l.*?\x1b\[\?25h\x1b\[\?2026l", re.DOTALL)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def start(terminal: Terminal, **environment: str) -> tuple[TtyProgress, Tracker, Clock]:
    clock = Clock()
    sink = TtyProgress(terminal.out, environment=environment, clock=clock)
    return sink, Tracker(sink, clock), clock


def test_a_build_as_it_goes_on(terminal: Terminal) -> None:
    print("before", file=terminal.out)
    sink, tracker, clock = start(terminal)
    tracker.cached("[1/3] FROM base")
    make = tracker.start("[2/3] RUN make")
    clock.now += 2.5
    make.output(1, b"".join(b"line %d\n" % number for number in range(9)) + b"unfinis")
    text = terminal.wait(lambda text: "unfinis" in text)
    assert text.splitlines() == [
        "before",
        "[+] Building 2.5s (1/2)",
        f"{' => CACHED [1/3] FROM base':74} 0.0s",
        f"{' => [2/3] RUN make':74} 2.5s",
        *(f" => => line {number}" for number in range(4, 9)),
        " => => unfinis",
    ]
    make.output(1, b"hed\n")
    make.done()
    tracker.start("[3/3] RUN test").done()
    tracker.warn("casing", "Dockerfile:1")
    sink.close()
    print("after", file=terminal.out, flush=True)
    text = terminal.wait(lambda text: "after" in text)
    assert text.splitlines() == [
        "before",
        "[+] Building 2.5s (3/3) FINISHED",
        f"{' => CACHED [1/3] FROM base':74} 0.0s",
        f"{' => [2/3] RUN make':74} 2.5s",
        f"{' => [3/3] RUN test':74} 0.0s",
        " 1 warning:",
        "  - casing (Dockerfile:1)",
        "after",
    ]
    assert not terminal.screen.cursor.hidden


def test_frames_are_whole_and_never_clear_the_screen(terminal: Terminal) -> None:
    sink, tracker, _ = start(terminal)
    vertex = tracker.start("[1/1] RUN loud")
    deadline = time.monotonic() + 60
    number = 0
    while number < 30 or len(FRAME.findall(terminal.raw)) < 3:
        assert time.monotonic() < deadline
        vertex.output(1, b"%d\n" % number)
        time.sleep(0.02)
        number += 1
    vertex.done()
    sink.close()
    terminal.wait(lambda text: "FINISHED" in text and terminal.raw.endswith(b"\x1b[?2026l"))
    assert FRAME.sub(b"", terminal.raw) == b""
    assert len(FRAME.findall(terminal.raw)) >= 3
    assert b"\x1b[2J" not in terminal.raw


def test_a_table_that_is_taller_than_the_screen_stays_in_place(terminal: Terminal) -> None:
    terminal.resize(40, 8)
    sink, tracker, _ = start(terminal)
    for number in range(30):
        tracker.cached(f"[{number}/60] RUN cached")
    vertices = [tracker.start(f"[{number}/60] RUN busy") for number in range(30, 50)]
    for vertex in vertices:
        vertex.output(1, b"log\n")
    # A frame may have been drawn before all of them were there.
    text = terminal.wait(lambda text: "(30/50)" in text and "more" in text)
    lines = text.splitlines()
    assert lines[0] == "[+] Building 0.0s (30/50)"
    assert lines[1].startswith(" => [30/60] RUN busy")
    assert lines[-1] == " => and 15 more"
    assert len(lines) == 7
    time.sleep(0.3)
    assert terminal.text() == text, "redrawing moved it"
    for vertex in vertices:
        vertex.done()
    sink.close()
    print("after", file=terminal.out, flush=True)
    terminal.wait(lambda text: "after" in text)
    written = terminal.raw.rpartition(b"\x1b[?2026h")[2].decode()
    assert all(f"[{number}/60]" in written for number in range(50)), "the end shows all of it"


@pytest.mark.parametrize(("columns", "lines"), [(20, 10), (3, 3), (1, 1)])
def test_narrow_terminals(terminal: Terminal, columns: int, lines: int) -> None:
    terminal.resize(columns, lines)
    sink, tracker, _ = start(terminal)
    vertex = tracker.start("[1/1] RUN something that is long")
    vertex.output(1, "wide 漢字漢字漢字漢字\n".encode())
    time.sleep(0.3)
    assert len(terminal.text().splitlines()) < max(2, lines), "a line was wrapped"
    vertex.done()
    sink.close()
    assert all(len(line) < max(2, columns) for line in terminal.display())


def test_a_window_that_changes_its_size(terminal: Terminal) -> None:
    sink, tracker, _ = start(terminal)
    vertex = tracker.start("[1/1] RUN make " + "x" * 100)
    terminal.wait(lambda text: "0.0s" in text)
    terminal.resize(50, 24)
    terminal.wait(lambda text: text.endswith("… 0.0s") and len(text.splitlines()[1]) == 49)
    terminal.resize(120, 24)
    text = terminal.wait(lambda text: text.endswith("0.0s") and len(text.splitlines()[1]) == 119)
    assert len(text.splitlines()) == 2
    vertex.done()
    sink.close()


def test_where_the_terminal_breaks_lines_anew_all_rows_are_taken_back(terminal: Terminal) -> None:
    sink, tracker, _ = start(terminal, VTE_VERSION="7000")
    tracker.start("[1/1] RUN " + "x" * 100)
    terminal.wait(lambda text: "0.0s" in text)
    terminal.resize(40, 24)
    terminal.wait(lambda _: b"\x1b[3A" in terminal.raw)  # 23 and 79 columns are 1 and 2 rows
    sink.close()


def test_wide_characters_keep_the_columns(terminal: Terminal) -> None:
    terminal.resize(30, 10)
    sink, tracker, _ = start(terminal)
    tracker.start("[1/2] RUN echo 漢字漢字漢字漢字").done()
    tracker.start("[2/2] RUN echo e\u0301\u0301 \U0001f600").done()
    sink.close()
    terminal.wait(lambda text: "FINI…" in text)
    rows = [line for line in terminal.raw.decode().splitlines() if "=>" in line]
    from rich.cells import cell_len

    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row) for row in rows[-2:]]
    assert [cell_len(row) for row in plain] == [29, 29]
    assert plain[0].endswith("… 0.0s")


HOSTILE = [
    b"\x1b[2J\x1b[H",
    b"\x1b]0;owned\x07",
    b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    b"\x1bPq#0;2;0;0;0\x1b\\",
    b"\x1b[?1049h",
    b"\x9b2J",
    b"\xc2\x9b2J",
    b"\x1bc",
    b"\x07\x08\x08\x0b\x0c",
    b"\x1b",
    b"\x1b[",
    b"\x1b]never ends",
    "\u202egnp.exe\u2066".encode(),
]


@pytest.mark.parametrize("attack", HOSTILE, ids=repr)
def test_hostile_logs_and_names_are_harmless(terminal: Terminal, attack: bytes) -> None:
    sink, tracker, _ = start(terminal)
    vertex = tracker.start("[1/1] RUN " + attack.decode("utf-8", "replace") + "name")
    vertex.output(1, attack + b"\nlog line\n" + attack)
    terminal.wait(lambda text: "=> => log line" in text)
    vertex.done()
    tracker.warn("warned " + attack.decode("utf-8", "replace"))
    sink.close()
    text = terminal.wait(lambda text: "warned" in text)
    ours = re.sub(rb"\x1b\[(?:\?2026|\?25)[hl]|\x1b\[\d*[AJKm]", b"", terminal.raw)
    assert not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", ours), ours
    assert "\u202e" not in text
    assert terminal.screen.title == ""


def test_colours_of_the_environment(terminal: Terminal) -> None:
    sink, tracker, _ = start(terminal, BUILDKIT_COLORS="run=light-green:error=1,2,3:bad:x=red")
    tracker.start("[1/2] RUN good").done()
    tracker.start("[2/2] RUN bad").failed("exit code: 1")
    sink.close()
    terminal.wait(lambda text: "ERROR [2/2] RUN bad" in text)
    assert b"\x1b[92m => [1/2] RUN good" in terminal.raw
    assert b"\x1b[38;2;1;2;3m => ERROR [2/2] RUN bad" in terminal.raw


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["no", "dumb"])
def test_no_colours(terminal: Terminal, environment: dict[str, str]) -> None:
    sink, tracker, _ = start(terminal, BUILDKIT_COLORS="run=green", **environment)
    tracker.start("[1/1] RUN good").done()
    sink.close()
    terminal.wait(lambda text: "FINISHED" in text)
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)


def test_log_lines_of_the_environment(terminal: Terminal) -> None:
    sink, tracker, _ = start(terminal, BUILDKIT_TTY_LOG_LINES="2")
    tracker.start("[1/1] RUN x").output(1, b"1\n2\n3\n")
    terminal.wait(lambda text: text.endswith(" => => 2\n => => 3"))
    sink.close()


CHILD = """
import sys, time
from builder.progress.tracker import Tracker
from builder.progress.tty import TtyProgress
sink = TtyProgress(sys.stderr)
vertex = Tracker(sink).start("[1/1] RUN endless")
try:
    while True:
        vertex.output(1, b"working\\n")
        time.sleep(0.001)
finally:
    sink.close()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=int)
def test_the_cursor_is_back_whatever_kills_the_build(terminal: Terminal, number: int) -> None:
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", CHILD], stderr=terminal.slave, cwd=root)
    terminal.wait(lambda text: "working" in text)
    child.send_signal(number)
    child.wait()
    os.write(terminal.slave, b"\nprompt $ ")
    terminal.wait(lambda text: text.endswith("prompt $"))
    assert not terminal.screen.cursor.hidden


def test_a_terminal_that_hangs_up_does_not_end_the_build() -> None:
    terminal = Terminal()
    sink, tracker, _ = start(terminal)
    vertex = tracker.start("[1/1] RUN make")
    terminal.wait(lambda text: "RUN make" in text)
    descriptor = terminal.out.fileno()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor)  # every write fails now
    os.close(null)
    vertex.output(1, b"x\n")
    time.sleep(0.3)
    vertex.done()
    sink.close()
    with suppress(OSError):
        terminal.out.close()
    terminal.close()
