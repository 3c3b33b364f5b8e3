"""Two builds of one target at once, in two processes: one does the work, both have the result."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading, write

pytestmark = pytest.mark.root

DOCKERFILE = """\
FROM busybox
RUN --mount=type=cache,target=/log echo ran >> /log/runs; sleep 1.5; echo done > /done
COPY a /a
RUN --mount=type=cache,target=/log echo ran >> /log/other
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", {"Dockerfile": DOCKERFILE, "a": "a"})


def runs(lading: Lading, name: str) -> int:
    """How often a step wrote into the log that outlives builds."""
    found = [path.read_text() for path in (lading.folder / "root").glob(f"builder/**/{name}")]
    return sum(text.count("ran") for text in found)


def wait_for_run(lading: Lading) -> None:
    for _ in range(400):
        if runs(lading, "runs"):
            return
        time.sleep(0.05)
    pytest.fail("the step did not begin")


def start(lading: Lading, context: Path, name: str) -> subprocess.Popen[str]:
    epoch = "SOURCE_DATE_EPOCH=1700000000"
    return lading.start("build", "-q", "-t", name, "--build-arg", epoch, context)


def test_both_succeed_with_one_digest_and_each_step_runs_once(
    lading: Lading, context: Path
) -> None:
    builds = [start(lading, context, name) for name in ("one", "two")]
    outputs = [build.communicate(timeout=120) for build in builds]
    assert [build.returncode for build in builds] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert (runs(lading, "runs"), runs(lading, "other")) == (1, 1)
    assert lading("run", "--rm", "two", "cat", "/done", "/a").stdout == "done\na"
    assert lading("system", "check", "--rehash").returncode == 0


def test_the_other_goes_on_when_the_one_that_works_is_killed(lading: Lading, context: Path) -> None:
    first = start(lading, context, "one")
    wait_for_run(lading)
    second = start(lading, context, "two")
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.startswith("sha256:")
    assert runs(lading, "runs") == 2
    assert lading("run", "--rm", "two", "cat", "/done").stdout == "done\n"
    assert lading("images", "-q", "one").stdout == ""
    assert lading("system", "check", "--rehash").returncode == 0


def test_a_build_that_fails_does_not_take_the_other_with_it(lading: Lading, tmp_path: Path) -> None:
    good = write(tmp_path / "good", {"Dockerfile": DOCKERFILE, "a": "a"})
    bad = write(tmp_path / "bad", {"Dockerfile": DOCKERFILE + "RUN false\n", "a": "a"})
    builds = [start(lading, bad, "bad"), start(lading, good, "good")]
    outputs = [build.communicate(timeout=120) for build in builds]
    assert [build.returncode for build in builds] == [1, 0], outputs
    assert (runs(lading, "runs"), runs(lading, "other")) == (1, 1)
