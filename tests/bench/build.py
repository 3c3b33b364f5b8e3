"""Builds beside dockerd's BuildKit and buildah, in turn: rebuilds, COPY, RUN, large layers.

``python -m tests.bench.build [--quick] [--json FILE] [--only GROUP]``

Cold means cold for everybody: no build cache on either side, base image present. What BuildKit
has for gzip is the push of an image, which compresses each layer with Go's gzip on its way to a
registry (Debian's docker-registry, emptied before each run); our layers are compressed while they
are built, so ours is timed over the whole build of the same tree.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.bench.harness import Action, Case, Reading, main, quietly
from tests.bench.main_job import LADING, make_context
from tests.bench.peers import Buildah, Docker, busybox_rootfs, dockerd

BASE = "bench/busybox"
MEGABYTE = 1 << 20
QUICK_RUNS = 2
"""With a warm-up before them; all cases together end within a minute."""
SETTLE_SECONDS = 0.1
"""Between an edit and a build; nobody types faster."""

COPY = f"FROM {BASE}\nCOPY . /src\n"
RUN = "RUN echo {n} > /file{n}\n"
STAGE = f"FROM {BASE} AS s{{n}}\nRUN sleep 1 && echo {{n}} > /file{{n}}\n"
COLLECT = "COPY --from=s{n} /file{n} /\n"
REGISTRY = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  delete: {{enabled: true}}
  filesystem: {{rootdirectory: {root}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Bench:
    """The contestants on one scratch folder."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.root = folder / "root"
        os.environ["LADING_ROOT"] = str(self.root)
        os.environ["LADING_RUNTIME_DIR"] = str(folder / "run")
        self.lading = partial(quietly, LADING)
        stack.callback(self.lading("system", "shutdown"))
        self.docker: Docker = stack.enter_context(dockerd())
        self.buildah = Buildah(folder / "buildah")
        stack.callback(self.buildah.remove)
        self.archive = busybox_rootfs(folder)
        self.fresh()
        self.docker.command("import", self.archive, BASE)()
        self.buildah.base(self.archive, BASE)

    def fresh(self) -> None:
        """A store of ours that holds the base image and nothing else."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.lading("import", self.archive, BASE)()

    def ours(self, context: Path, *flags: str) -> Action:
        return self.lading("build", "-q", *flags, "-t", "bench/app", context)

    def theirs(self, context: Path, *flags: str) -> Action:
        return self.docker.command("build", "-q", *flags, "-t", "bench/app", context)

    def all(self, context: Path, *flags: str) -> dict[str, Action]:
        """Every contestant's build of a context."""
        return {
            "lading": self.ours(context, *flags),
            "buildkit": self.theirs(context, *flags),
            "buildah": self.buildah.build(context, *flags),
        }

    def forget(self) -> dict[str, Action]:
        """What makes the next build a first one."""
        return {
            "lading": self.fresh,
            "buildkit": self.docker.command("builder", "prune", "-af"),
            "buildah": self.buildah.command("rmi", "--force", "localhost/bench/app"),
        }


def small_files(bench: Bench, *, quick: bool) -> Iterator[Case]:
    """A context of 20,000 files: unchanged, one file edited, copied for the first time."""
    count = 2_000 if quick else 20_000
    context = make_context(bench.folder, count, COPY)
    contestants = bench.all(context)
    yield Case(
        f"nothing changed, {count} files",
        contestants,
        "<= 0.5 x buildkit, <= 120 ms",
        QUICK_RUNS if quick else 9,
    )
    runs = QUICK_RUNS if quick else 5
    edited = context / "d7" / "file350.txt"
    yield Case(
        f"one file of {count} changed",
        contestants,
        "<= 0.25 x buildkit",
        runs,
        prepare=dict.fromkeys(contestants, partial(_edit, edited)),
    )
    yield Case(
        f"cold COPY of {count} files",
        contestants,
        "<= 0.4 x buildkit",
        runs,
        prepare=bench.forget(),
    )


def _edit(path: Path) -> None:
    path.write_bytes(os.urandom(1000))
    time.sleep(SETTLE_SECONDS)


def commands(bench: Bench, *, quick: bool) -> Iterator[Case]:
    """RUN steps: ten that do nothing, four stages that sleep."""
    count = 3 if quick else 10
    steps = _dockerfile_alone(bench.folder / "steps", f"FROM {BASE}\n" + _repeat(RUN, count))
    yield Case(
        f"{count} trivial RUN steps, cold",
        bench.all(steps, "--no-cache"),
        "<= 0.25 x buildkit, <= 15 ms a step",
        QUICK_RUNS if quick else 7,
    )
    count = 2 if quick else 4
    text = _repeat(STAGE, count) + f"FROM {BASE}\n" + _repeat(COLLECT, count)
    stages = _dockerfile_alone(bench.folder / "stages", text)
    contestants = bench.all(stages, "--no-cache")
    contestants["buildah"] = bench.buildah.build(stages, "--no-cache", "--jobs", str(count))
    yield Case(f"{count} stages of sleep 1", contestants, "<= 1200 ms", 1 if quick else 5)


def _repeat(lines: str, count: int) -> str:
    return "".join(lines.format(n=number) for number in range(count))


def _dockerfile_alone(context: Path, text: str) -> Path:
    context.mkdir()
    (context / "Dockerfile").write_text(text)
    return context


def large_layer(bench: Bench, *, quick: bool) -> Iterator[Case | Reading]:
    """Debian's files as one gzip layer."""
    size = (40 if quick else 800) * MEGABYTE
    context = bench.folder / "large"
    real = copy_of_usr(context / "files", size) / MEGABYTE
    (context / "Dockerfile").write_text("FROM scratch\nCOPY files /\n")
    registry = bench.stack.enter_context(docker_registry(bench.folder))
    name = f"127.0.0.1:{registry}/bench/large"
    bench.docker.command("build", "-q", "-t", name, context)()
    yield Case(
        f"{real:.0f} MB of /usr as a gzip layer",
        {
            "lading": bench.ours(context, "--no-cache"),
            "docker push": bench.docker.command("push", name),
        },
        "<= 0.125 x buildkit",
        1 if quick else 5,
        prepare={
            "lading": bench.fresh,
            "docker push": partial(_empty, bench.folder / "registry"),
        },
    )
    ours = _layer_bytes(bench.root) / 1e6
    theirs = _layer_bytes(bench.folder / "registry") / 1e6
    yield Reading(
        "size of that layer", {"lading": ours, "docker push": theirs}, "MB", "<= 1.12 x buildkit"
    )


def _layer_bytes(folder: Path) -> int:
    """The size of the largest file: the layer just made."""
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


@contextmanager
def docker_registry(folder: Path) -> Iterator[int]:
    """Debian's registry on a free port of loopback, its content in ``folder``/registry."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    _empty(folder / "registry")
    config = folder / "registry.yml"
    config.write_text(REGISTRY.format(root=folder / "registry", port=port))
    process = subprocess.Popen(
        ["docker-registry", "serve", config],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OTEL_TRACES_EXPORTER": "none"},
    )
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def copy_of_usr(target: Path, size: int) -> int:
    """Copy about ``size`` bytes of regular files of /usr; returns how many it was."""
    done = 0
    for folder, names, files in os.walk("/usr"):
        names.sort()
        for name in sorted(files):
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file():
                continue
            length = source.stat().st_size
            if done + length > size:
                continue
            destination = target / source.relative_to("/usr")
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
            done += length
            if done > size - MEGABYTE:
                return done
    return done


def memory(bench: Bench, *, quick: bool) -> Iterator[Reading]:
    """What the build of a layer of one large file takes, in a process of its own."""
    size = (100 if quick else 2000) * MEGABYTE
    context = bench.folder / "huge"
    context.mkdir()
    piece = random.Random(1).randbytes(MEGABYTE // 2)
    with (context / "file").open("wb") as file:
        for number in range(size // MEGABYTE):
            file.write(piece + b"%d" % number + bytes(MEGABYTE // 2 - len(b"%d" % number)))
    (context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY file /\nRUN true\n")
    child = os.posix_spawn(
        LADING,
        (LADING, "build", "-q", "--no-cache", context),
        os.environ,
        file_actions=((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),),
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"the build of a large layer failed: {os.waitstatus_to_exitcode(status)}")
    label = f"memory of a build with a {size // MEGABYTE} MB layer"
    yield Reading(label, {"lading": usage.ru_maxrss / 1024}, "MB", "<= 200 MB")


GROUPS: dict[str, Callable[..., Iterator[Case | Reading]]] = {
    "files": small_files,
    "commands": commands,
    "large": large_layer,
    "memory": memory,
}


def cases(stack: ExitStack, quick: bool, only: str) -> Iterator[Case | Reading]:
    """Prepare all sides and describe the comparisons, each just before it is measured."""
    folder = Path(tempfile.mkdtemp(prefix="bench-build-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    bench = Bench(stack, folder)
    for name, group in GROUPS.items():
        if only in ("", name):
            yield from group(bench, quick=quick)


if __name__ == "__main__":
    with ExitStack() as stack:
        main(partial(cases, stack), __doc__ or "", groups=tuple(GROUPS))
