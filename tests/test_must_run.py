"""The suite's own honesty: what must run is not skipped, and no test may become a lottery."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECOND_TRIES

ROOT = Path(__file__).parent.parent
SKIPPED = """
import pytest

@pytest.mark.peer
def test_with_a_peer():
    pytest.skip("needs a program that is not here")
"""


# Each of these holds the second time it is tried.
LOTTERY = """
import pytest

tried = set()

@pytest.mark.parametrize("number", range({count}))
def test_lottery(number):
    again = number in tried
    tried.add(number)
    assert again
"""


def pytest_on(folder: Path, *flags: str, marks: str = "") -> subprocess.CompletedProcess[str]:
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", *flags]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            "--rootdir",
            folder,
            "-c",
            ROOT / "pyproject.toml",
            folder,
        ],
        cwd=ROOT,
        env={**os.environ, "LADING_MUST_RUN": marks},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("marks", "status"), [("", 0), ("root network", 0), ("root peer", 1)])
def test_a_skip_counts_where_it_must_not_happen(tmp_path: Path, marks: str, status: int) -> None:
    (tmp_path / "test_one.py").write_text(SKIPPED)
    done = pytest_on(tmp_path, marks=marks)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("tests that must run were skipped" in done.stdout) == bool(status)


@pytest.mark.parametrize(("count", "status"), [(SECOND_TRIES, 0), (SECOND_TRIES + 1, 1)])
def test_only_a_few_tests_may_need_a_second_try(tmp_path: Path, count: int, status: int) -> None:
    (tmp_path / "test_one.py").write_text(LOTTERY.format(count=count))
    done = pytest_on(tmp_path, "--reruns", "2")
    assert done.returncode == status, done.stdout + done.stderr
    assert "test_lottery[0]" in done.stdout.partition("tried again")[2]


def test_a_test_that_never_holds_fails(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_wrong():\n    assert False\n")
    assert pytest_on(tmp_path, "--reruns", "2").returncode == 1
