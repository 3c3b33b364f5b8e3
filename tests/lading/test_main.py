"""The end of the process: nothing that was put off is lost, and nobody is cut off."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, sys, threading
from lading.main import _leave

class Late:
    def __del__(self):
        print("taken down")

kept = Late()
kept.itself = kept
atexit.register(print, "put off")
print("said", end=" ")
stop = threading.Event()
if sys.argv[1] == "busy":
    threading.Thread(target=stop.wait).start()
_leave(3)
stop.set()
print("stayed")
"""


def end(how: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.split("\n")[:-1]


def test_what_was_put_off_is_done_and_the_interpreter_is_not_taken_down():
    assert end("idle") == (3, ["said put off"])


def test_a_thread_that_runs_is_not_cut_off():
    status, lines = end("busy")
    assert status == 0
    assert lines[0] == "said stayed"
    assert "put off" in lines
