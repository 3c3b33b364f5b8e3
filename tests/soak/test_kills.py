"""SIGKILL at random moments of a build, sometimes of the launcher too: nothing half-done is seen.

A build that follows succeeds with the digest of one that was never disturbed, and the check of the
store is clean. A few dozen times in every run; hundreds of times in `make soak`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from images.store import ImageStore
from tests.e2e.conftest import LADING, Lading, leftover_mounts, write

pytestmark = pytest.mark.root

KILLS = int(os.environ.get("LADING_KILLS", "500"))

DOCKERFILE = """\
FROM busybox AS one
ARG ROUND
RUN mkdir /a && for n in $(seq 40); do echo $n $ROUND > /a/$n; done
COPY src /src
RUN head -c 3000000 /dev/zero > /zeros && rm /src/0
FROM busybox AS two
ARG ROUND
RUN --mount=type=cache,target=/cache echo $ROUND >> /cache/rounds && echo $ROUND > /two
ADD some.tar /unpacked/
FROM busybox
WORKDIR /deep/er
COPY --from=one /a /a
COPY --from=one /zeros /zeros
COPY --from=two /two /two
COPY --link src /linked
COPY <<end /inline
text
end
RUN cat /a/* /two | md5sum > /sum && mkdir /empty
RUN --mount=type=bind,source=src,target=/m cp /m/1 /copied
CMD ["cat", "/sum"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Everything the Dockerfile reads, with fixed times."""
    folder = write(
        tmp_path / "context",
        {f"src/{n}": f"{n}\n" * n for n in range(60)} | {"Dockerfile": DOCKERFILE},
    )
    with tarfile.open(folder / "some.tar", "w") as archive:
        archive.add(folder / "src", "src")
    for path in folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return folder


@pytest.fixture
def undisturbed(lading: Lading, tmp_path: Path) -> Iterator[Lading]:
    """A second lading with the very same base, which is left alone."""
    user = Lading(tmp_path / "undisturbed")
    lading("save", "-o", tmp_path / "base.tar", "busybox")
    user("load", "-i", tmp_path / "base.tar")
    yield user
    user("system", "shutdown", status=None)
    shutil.rmtree(user.folder, ignore_errors=True)
    (tmp_path / "base.tar").unlink()


def build_arguments(name: str, round_: int, context: Path) -> list[str | Path]:
    epoch = "SOURCE_DATE_EPOCH=1700000000"
    return [
        "build",
        "-q",
        "-t",
        name,
        "--build-arg",
        f"ROUND={round_}",
        "--build-arg",
        epoch,
        context,
    ]


def launcher_of(user: Lading) -> int | None:
    """The process that holds the launcher's lock file open."""
    lock = str(user.folder / "run" / "launcher.lock")
    for process in filter(str.isdigit, os.listdir("/proc")):
        # Processes of others come and go all the time.
        with suppress(OSError):
            for name in os.listdir(f"/proc/{process}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{process}/fd/{name}") == lock:
                        return int(process)
    return None


def kill_in_the_middle(
    user: Lading, argv: list[str | Path], source: random.Random, longest: float
) -> None:
    """Start a build and kill it, or the launcher, or both, after a random time."""
    build = subprocess.Popen(
        [LADING, *argv],
        env=user.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(source.uniform(0, longest))
    victim = source.random()
    launcher = launcher_of(user) if victim < 0.25 else None
    if launcher is not None:
        with suppress(ProcessLookupError):
            os.kill(launcher, signal.SIGKILL)
        time.sleep(source.uniform(0, 0.05))
    build.send_signal(signal.SIGKILL)
    build.wait()


def nothing_half_done(user: Lading, name: str) -> None:
    """Every name leads to a whole image; what is in the store fits together."""
    store = ImageStore.open(user.folder / "root")
    try:
        wrong = [it for it in store.check() if "a killed process left" not in it.what]
        assert wrong == []
        for found in store.images():
            store.image(found.descriptor)
    finally:
        store.close()


def clean_after_a_build(user: Lading, argv: list[str | Path]) -> None:
    """A build sweeps what killed ones left, once it is surely nobody's: a minute later."""
    for _ in range(3):
        user(*argv, "--no-cache")
        if user("system", "check", "--rehash", status=None).returncode == 0:
            return
    pytest.fail(user("system", "check", status=None).stdout)


def disturb(user: Lading, undisturbed: Lading, context: Path, kills: int, seed: int) -> None:
    source = random.Random(seed)
    begun = time.monotonic()
    user(*build_arguments("app", -1, context))
    longest = 1.1 * (time.monotonic() - begun)
    for round_ in range(kills):
        kill_in_the_middle(user, build_arguments("app", round_, context), source, longest)
        if round_ % 5 == 0:
            nothing_half_done(user, "app")
        if round_ % 10 == 9:
            user(*build_arguments("app", round_, context))
    last = build_arguments("app", kills - 1, context)
    user(*last)
    undisturbed(*last)
    digests = [it("image", "inspect", "-f", "{{.Id}}", "app").stdout for it in (user, undisturbed)]
    assert digests[0] == digests[1]
    clean_after_a_build(user, last)
    assert user("run", "--rm", "app").stdout == undisturbed("run", "--rm", "app").stdout
    assert not leftover_mounts(user.folder)
    assert user("builder", "prune", "-f", "-a").returncode == 0
    assert user("system", "check", "--rehash").returncode == 0


@pytest.mark.timeout(900)
def test_dozens_of_kills(lading: Lading, undisturbed: Lading, context: Path) -> None:
    disturb(lading, undisturbed, context, kills=24, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundreds_of_kills(lading: Lading, undisturbed: Lading, context: Path) -> None:
    disturb(lading, undisturbed, context, kills=KILLS, seed=time.time_ns())
