"""Two builds of one target at once, in two processes: one does the work, both have the result."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading, files_below, write
from tests.waiting import eventually

pytestmark = pytest.mark.root

DOCKERFILE = """\
FROM busybox
RUN --mount=type=cache,target=/log echo ran >> /log/runs; sleep 1.5; echo done > /done
COPY a /a
RUN --mount=type=cache,target=/log echo ran >> /log/other
"""


# The first step ends when it is told to, or after a minute.
HELD = DOCKERFILE.replace(
    "sleep 1.5", "for n in $(seq 600); do test -e /log/go && break; sleep 0.1; done"
)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", {"Dockerfile": DOCKERFILE, "a": "a"})


def runs(lading: Lading, name: str) -> int:
    """How often a step wrote into the log that outlives builds."""
    return sum(path.read_text().count("ran") for path in logs(lading, name))


def logs(lading: Lading, name: str) -> list[Path]:
    """The logs of that name; builds that run may make and remove folders beside them."""
    return [path for path in files_below(lading.folder / "root/builder") if path.name == name]


def waits(process: subprocess.Popen[str], folder: Path) -> bool:
    """Whether a process has a lock file of a step open."""
    with suppress(FileNotFoundError):
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if link.readlink().is_relative_to(folder):
                    return True
    return False


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
    write(context, {"Dockerfile": HELD})
    first = start(lading, context, "one")
    eventually(lambda: runs(lading, "runs"))
    second = start(lading, context, "two")
    eventually(lambda: waits(second, lading.folder / "root/builder/locks"))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (log,) = logs(lading, "runs")
    log.with_name("go").touch()
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
