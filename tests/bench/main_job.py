"""The main job's numbers beside dockerd: start-up, run, no-change rebuild, cold build."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.bench.harness import Case, main, quietly
from tests.bench.peers import busybox_rootfs, dockerd

LADING = Path(sys.executable).with_name("lading")
FILES = 5000
DOCKERFILE = """\
FROM bench/busybox AS build
WORKDIR /src
COPY . .
RUN find . -type f | sort | head -n 4000 > /list && cat $(head -n 50 /list) > /result
FROM bench/busybox
COPY --from=build /src /app
COPY --from=build /result /list /
ENV MODE=production
CMD ["/bin/true"]
"""


def make_context(folder: Path, files: int, dockerfile: str = DOCKERFILE) -> Path:
    """A source tree of ``files`` small files, 50 a directory, the same for the same count."""
    context = folder / f"context-{files}"
    source = random.Random(files)
    for number in range(files):
        path = context / f"d{number // 50}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(source.randrange(200, 6000)))
    (context / "Dockerfile").write_text(dockerfile)
    return context


def cases(stack: ExitStack, quick: bool) -> Sequence[Case]:
    """Prepare both sides and describe the comparisons."""
    folder = Path(tempfile.mkdtemp(prefix="bench-main-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["LADING_ROOT"] = str(folder / "root")
    os.environ["LADING_RUNTIME_DIR"] = str(folder / "run")
    lading = partial(quietly, LADING)
    stack.callback(lading("system", "shutdown"))
    docker = stack.enter_context(dockerd())
    archive = busybox_rootfs(folder)
    lading("import", archive, "bench/busybox")()
    docker.command("import", archive, "bench/busybox")()
    context = make_context(folder, FILES)
    build = lading("build", "-q", "-t", "bench/app", context)
    docker_build = docker.command("build", "-q", "-t", "bench/app", context)
    cold = lading("build", "-q", "--no-cache", "-t", "bench/app", context)
    docker_cold = docker.command("build", "-q", "--no-cache", "-t", "bench/app", context)
    run = ("run", "--rm", "bench/busybox", "/bin/true")
    return [
        Case("lading --version", {"lading": lading("--version")}, "<= 60 ms", 20),
        Case(
            "run --rm IMAGE true (bridge)",
            {"lading": lading(*run), "docker": docker.command(*run)},
            "<= 0.5 x docker",
            15,
        ),
        Case(
            f"cold two-stage build, {FILES} files",
            {"lading": cold, "buildkit": docker_cold},
            "<= 0.667 x buildkit",
            5,
        ),
        Case(
            f"nothing changed, {FILES} files, cold process",
            {"lading": build, "buildkit": docker_build},
            "<= 150 ms",
            10,
        ),
    ]


if __name__ == "__main__":
    with ExitStack() as stack:
        main(partial(cases, stack), __doc__ or "")
