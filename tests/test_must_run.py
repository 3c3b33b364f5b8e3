"""The suite's own honesty: a skipped test that must run fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKIPPED = """
import pytest

@pytest.mark.peer
def test_with_a_peer():
    pytest.skip("needs a program that is not here")
"""


@pytest.mark.parametrize(("marks", "status"), [("", 0), ("root network", 0), ("root peer", 1)])
def test_a_skip_counts_where_it_must_not_happen(tmp_path: Path, marks: str, status: int) -> None:
    (tmp_path / "test_one.py").write_text(SKIPPED)
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", ROOT / "pyproject.toml", tmp_path],
        cwd=ROOT,
        env={**os.environ, "LADING_MUST_RUN": marks},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("tests that must run were skipped" in done.stdout) == bool(status)
