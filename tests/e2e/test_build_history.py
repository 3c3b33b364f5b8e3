"""Builds that are killed, stopped or fail, looked at afterwards; progress on a real terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.builder.progress.terminal import Terminal
from tests.e2e.conftest import LADING, Lading, write

pytestmark = pytest.mark.root

SLOW = """\
FROM busybox
RUN echo fast
RUN echo begun && sleep 60
"""


def inspected(lading: Lading, ref: str = "^0") -> dict:
    """A build's record, with buildx' names."""
    return json.loads(lading("history", "builds", "inspect", "--format", "json", ref).stdout)


def wait_for_log(lading: Lading, text: str) -> None:
    """Until the build that runs has written something."""
    deadline = time.monotonic() + 60
    while text not in lading("history", "builds", "logs", status=None).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("number", "status", "outcome"),
    [(signal.SIGKILL, "interrupted", "interrupted"), (signal.SIGINT, "canceled", "canceled")],
    ids=["killed", "interrupted"],
)
def test_a_build_that_was_ended_from_outside(
    lading: Lading, tmp_path: Path, number: int, status: str, outcome: str
) -> None:
    context = write(tmp_path / "context", {"Dockerfile": SLOW})
    build = lading.start("build", "-t", "slow", context)
    wait_for_log(lading, " begun\n")
    running = inspected(lading)
    assert running["Status"] == "running"
    assert running["CompletedAt"] is None
    assert "the build still runs" in lading("history", "builds", "rm", "^0", status=1).stderr
    build.send_signal(number)
    build.communicate(timeout=60)
    told = inspected(lading)
    assert told["Status"] == status
    steps = {step["Name"].partition("] ")[2]: step["Outcome"] for step in told["Steps"]}
    assert steps["RUN echo fast"] == "executed"
    assert steps["RUN echo begun && sleep 60"] == outcome
    assert " begun" in lading("history", "builds", "logs", "^0", "sleep").stdout
    assert "fast" in lading("history", "builds", "export", "--html").stdout


def test_a_step_that_fails_is_on_record_with_its_log(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN echo some words && exit 3\n"
    context = write(tmp_path / "context", {"Dockerfile": text})
    lading("build", context, status=1)
    told = inspected(lading)
    assert told["Status"] == "failed"
    assert "exit code: 3" in told["Error"]["Message"]
    assert "some words" in lading("history", "builds", "logs").stdout


def test_no_secret_reaches_the_record(lading: Lading, tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=key cat /run/secrets/key\n"}
    context = write(tmp_path / "context", files | {"../key": "very-secret-value\n"})
    lading("build", "--secret", f"id=key,src={tmp_path / 'key'}", context)
    out = lading("history", "builds", "export").stdout + lading("history", "builds", "logs").stdout
    assert "very-secret-value" not in out
    assert "*****" in out


def test_the_layers_say_which_step_brought_the_bytes(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=5\nCOPY a /small\n"
    context = write(tmp_path / "context", {"Dockerfile": text, "a": "a"})
    page = tmp_path / "report.html"
    lading("build", "--report", page, context)
    row = next(part for part in page.read_text().split("<tr>") if "<code>big</code>" in part)
    assert "5.24MB" in row
    assert "[2/3] RUN" in row


def test_a_build_on_a_terminal(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN echo first words && sleep 5 && printf '\\033[2Jx\\n'\nRUN true\n"
    context = write(tmp_path / "context", {"Dockerfile": text})
    terminal = Terminal(100, 30)
    build = subprocess.Popen(
        [LADING, "build", "-t", "shown", context],
        env={**lading.environment, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=terminal.slave,
        stderr=terminal.slave,
        start_new_session=True,
    )
    terminal.wait(lambda text: " => => first words" in text)
    text = terminal.wait(lambda text: "manifest sha256:" in text)
    assert build.wait(60) == 0
    lines = text.splitlines()
    assert lines[0].startswith("[+] Building ")
    assert lines[0].endswith(" FINISHED")
    assert " => => " not in text, "the tail went with the step"
    assert any(line.startswith("Summary: ") for line in lines)
    assert not terminal.screen.cursor.hidden
    assert b"\x1b[2J" not in terminal.raw
    terminal.close()


def test_the_history_is_private(lading: Lading, tmp_path: Path) -> None:
    context = write(tmp_path / "context", {"Dockerfile": "FROM busybox\nRUN echo x\n"})
    lading("build", context)
    folder = lading.folder / "root/builder/history"
    assert os.stat(folder).st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
