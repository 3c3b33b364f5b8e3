"""git ends when the build ends, also one that is killed and can say nothing to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuildEnvironmentError
from builder.sources.git_program import Git
from tests.conftest import require_program

BUILD = """\
import sys
from builder.sources.git_program import Git
Git(sys.argv[1])("ls-remote", sys.argv[1])
"""
DEADLINE = 60.0


def _children(parent: int) -> dict[int, str]:
    """All that comes from a process, by id, while it lives: names from /proc/PID/stat."""
    known, found = {parent}, dict[int, str]()
    for _ in range(8):
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                head, _, rest = stat.read_text().rpartition(")")
            except OSError:
                continue
            number, name = int(stat.parent.name), head.partition("(")[2]
            if int(rest.split()[1]) in known and number not in known:
                known.add(number)
                found[number] = name
    return found


def _wait_for(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s"
        time.sleep(0.02)


def _lives(number: int, name: str) -> bool:
    try:
        text = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
    return f"({name})" in text and text.rpartition(")")[2].split()[0] != "Z"


def test_git_and_its_helpers_end_with_a_build_that_is_killed() -> None:
    require_program("git")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/repo.git"
        build = subprocess.Popen([sys.executable, "-c", BUILD, url], stdout=subprocess.DEVNULL)
        try:
            silent.settimeout(DEADLINE)
            # Whoever connects is git's helper, so all of them are there by then.
            connection, _ = silent.accept()
            with connection:
                born = _children(build.pid)
                assert "git" in born.values()
                build.kill()
                build.wait()
                _wait_for(
                    "their end",
                    lambda: not any(_lives(number, name) for number, name in born.items()),
                )
        finally:
            build.kill()
            build.wait()


def test_a_machine_without_git_is_told(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    git = Git("https://example.com/a.git", environment=environment)
    with pytest.raises(BuildEnvironmentError, match="git is not installed"):
        git("ls-remote", "https://example.com/a.git")
