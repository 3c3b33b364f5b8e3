"""`make demo` as CI sees it: the whole story ends well and leaves nothing running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require_program

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.root
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_tells_its_story_twice() -> None:
    require_program("mmdebstrap")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "scripts/demo.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=250,
            env={k: v for k, v in os.environ.items() if not k.startswith("LADING_")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "done: nothing is left running" in done.stdout
        assert "<p>shipped by lading</p>" in done.stdout
        left = subprocess.run(["pgrep", "-fa", "lading-demo-"], capture_output=True, text=True)
        assert left.stdout == ""
