"""A CI job on an empty machine with a warm remote cache, beside BuildKit's registry cache, in turn.

``python -m tests.bench.remote_cache [--quick] [--json FILE]``

The image stands on a base with a toolchain in it; a step installs that, sources are copied, and a
step works on them. Before each run the machine is emptied: our store is put aside and the launcher
ended, ``buildkitd`` is ended and its root put aside. Both push the image and, where something
changed, write the cache back, each with mode=max. BuildKit works on Debian's docker-registry; ours
on our registry, and on that one too.

The target is of a job as CI runs it, where no BuildKit runs before: the job makes buildx's builder
in a container, as hosted runners do since Docker's image store has no registry cache to write, and
builds with it. dockerd is up before, and the builder's image is there. Beside it stand the same job
with a bare ``buildkitd`` that is started for it, and with one that was up before, which is also
what Docker's own builder on a containerd image store comes to.

A last case is about layers that leave while the build goes on: slow steps that each make a large
layer, nothing of which is known, over a slow link to the same registry. Ours is also shown with the
push as a command of its own.

``buildkitd``, ``buildctl`` and ``docker-buildx`` are taken from PATH (``go build ./cmd/...`` in
modules of github.com/moby/buildkit and github.com/docker/buildx makes them). Without the last one
the first to compare with is the bare daemon. Without all, the peer is Debian's dockerd 20.10 with
an inline cache, which has no other for registries; its store is emptied by prune.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench.build import MEGABYTE, copy_of_usr, docker_registry
from tests.bench.harness import Action, Case, main, quietly
from tests.bench.main_job import LADING
from tests.bench.peers import BuildKit, Buildx, busybox_rootfs, dockerd, lading_registry, set_aside
from tests.bench.slow_link import slow_link

SOURCES = 200
DOCKERFILE = """\
ARG BASE
FROM $BASE AS build
RUN mkdir /installed && tar -xf /toolchain.tar -C /installed
COPY src /src
RUN cat /src/* > /app
FROM $BASE
COPY --from=build /installed /installed
COPY --from=build /app /app
RUN test -s /app
"""


SLOW_STEPS = 5
LINK = 25 * MEGABYTE
"""Bytes a second."""


class Job:
    """The same job for everybody, on one scratch folder."""

    def __init__(self, stack: ExitStack, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.context = folder / "context"
        self.edits = 0
        os.environ["LADING_ROOT"] = str(folder / "root")
        os.environ["LADING_RUNTIME_DIR"] = str(folder / "run")
        self.lading = partial(quietly, LADING)
        stack.callback(self.lading("system", "shutdown"))
        self.theirs = f"127.0.0.1:{stack.enter_context(docker_registry(folder))}"
        self.ours = stack.enter_context(lading_registry(folder / "lading-registry"))
        self._make_base((20 if quick else 120) * MEGABYTE)
        self._make_context()
        port = int(self.theirs.rpartition(":")[2])
        self.slow = f"127.0.0.1:{stack.enter_context(slow_link(port, LINK))}"
        self._make_slow_context((8 if quick else 40) * MEGABYTE, seconds=0.5 if quick else 2)

    def _make_slow_context(self, size: int, *, seconds: float) -> None:
        (self.folder / "slow").mkdir()
        steps = (
            f"RUN head -c {size} /dev/urandom > /file{number} && sleep {seconds}\n"
            for number in range(SLOW_STEPS)
        )
        text = f"FROM {self.theirs}/base\n{''.join(steps)}"
        (self.folder / "slow/Dockerfile").write_text(text)

    def slowly(self) -> Action:
        """Our job over the slow link."""
        return self.lading(
            "build", "-q", "--no-cache", "--push", "-t", f"{self.slow}/slow:ours",
            "--cache-to", f"type=registry,ref={self.slow}/slow:cache,mode=max",
            self.folder / "slow",
        )  # fmt: skip

    def one_after_the_other(self) -> Action:
        """Ours without a cache, pushed when it is built."""
        name = f"{self.slow}/slow:later"
        build = self.lading("build", "-q", "--no-cache", "-t", name, self.folder / "slow")
        push = self.lading("push", name)

        def both() -> None:
            build()
            push()

        return both

    def _make_base(self, size: int) -> None:
        """A base image with the toolchain, in both registries."""
        copy_of_usr(self.folder / "toolchain", size)
        base = self.folder / "base"
        base.mkdir()
        busybox_rootfs(self.folder).rename(base / "busybox.tar")
        archive = base / "toolchain.tar"
        quietly("tar", "-C", self.folder / "toolchain", "-cf", archive, ".")()
        shutil.rmtree(self.folder / "toolchain")
        (base / "Dockerfile").write_text("FROM scratch\nADD busybox.tar /\nCOPY toolchain.tar /\n")
        names = [f"{host}/base" for host in (self.ours, self.theirs)]
        self.lading("build", "-q", "-t", names[0], "-t", names[1], base)()
        for name in names:
            self.lading("push", name)()

    def _make_context(self) -> None:
        (self.context / "src").mkdir(parents=True)
        for number in range(SOURCES):
            (self.context / "src" / f"file{number}").write_bytes(os.urandom(3000))
        (self.context / "Dockerfile").write_text(DOCKERFILE)

    def edit(self) -> None:
        """Change one source file."""
        self.edits += 1
        (self.context / "src" / "file7").write_text(f"edit {self.edits}")

    def with_lading(self, host: str, *, write: bool) -> Action:
        """Our job against a registry."""
        cache = f"type=registry,ref={host}/app:cache"
        flags = ("--cache-to", f"{cache},mode=max") if write else ()
        return self.lading(
            "build", "-q", "--push", "-t", f"{host}/app:latest", "--cache-from", cache, *flags,
            "--build-arg", f"BASE={host}/base", self.context,
        )  # fmt: skip

    def empty(self) -> None:
        """Our machine as it is before the first job."""
        self.lading("system", "shutdown")()
        set_aside(self.folder / "root")

    def after_an_edit(self, empty: Action) -> Action:
        """What comes before a job that has something to do."""

        def prepare() -> None:
            empty()
            self.edit()

        return prepare


class Peer(NamedTuple):
    """A way to do the job as others do it; ``slowly`` is the last case's, where it can be done."""

    name: str
    job: Callable[..., Action]
    empty: Action
    slowly: Action | None = None


def peers(stack: ExitStack, job: Job) -> Sequence[Peer]:
    """Those that there are; the first is the one to compare with."""
    if shutil.which("buildkitd") and shutil.which("buildctl"):
        buildkit = BuildKit(job.folder / "buildkit", insecure=(job.theirs, job.slow))
        stack.callback(buildkit.stop)

        def daemon_up(*, write: bool) -> Action:
            cache = f"type=registry,ref={job.theirs}/app:buildkit-cache"
            flags = ("--export-cache", f"{cache},mode=max") if write else ()
            return buildkit.command(
                "build", "--progress=quiet", "--frontend", "dockerfile.v0",
                "--local", f"context={job.context}", "--local", f"dockerfile={job.context}",
                "--opt", f"build-arg:BASE={job.theirs}/base",
                "--output", f"type=image,name={job.theirs}/app:buildkit,push=true",
                "--import-cache", cache, *flags,
            )  # fmt: skip

        slowly = buildkit.command(
            "build", "--progress=quiet", "--frontend", "dockerfile.v0", "--no-cache",
            "--local", f"context={job.folder}/slow", "--local", f"dockerfile={job.folder}/slow",
            "--output", f"type=image,name={job.slow}/slow:buildkit,push=true",
            "--export-cache", f"type=registry,ref={job.slow}/slow:buildkit-cache,mode=max",
        )  # fmt: skip

        def from_nothing(*, write: bool) -> Action:
            build = daemon_up(write=write)

            def both() -> None:
                buildkit.start()
                build()

            return both

        bare = (
            Peer("buildkitd", from_nothing, buildkit.stop),
            Peer("buildkitd, up before", daemon_up, buildkit.fresh, slowly),
        )
        return (*_buildx(stack, job), *bare)
    docker = stack.enter_context(dockerd())

    def inline_job(*, write: bool) -> Action:
        name = f"{job.theirs}/app:buildkit"
        build = docker.command(
            "build", "-q", "-t", name, "--cache-from", name, "--build-arg",
            "BUILDKIT_INLINE_CACHE=1", "--build-arg", f"BASE={job.theirs}/base", job.context,
        )  # fmt: skip
        push = docker.command("push", name)

        def both() -> None:
            build()
            push()

        return both

    return (Peer("dockerd inline", inline_job, docker.command("system", "prune", "-af")),)


def _buildx(stack: ExitStack, job: Job) -> Iterator[Peer]:
    """BuildKit as docker's users have it, where it can be had."""
    if not shutil.which("docker-buildx"):
        return
    docker = stack.enter_context(dockerd(lacking=True))
    buildx = Buildx(docker, job.folder / "buildx", job.theirs)
    stack.callback(buildx.remove)

    def job_of(*, write: bool) -> Action:
        cache = f"type=registry,ref={job.theirs}/app:buildx-cache"
        flags = ("--cache-to", f"{cache},mode=max") if write else ()
        return buildx.build(
            "--push", "-t", f"{job.theirs}/app:buildx", "--cache-from", cache, *flags,
            "--build-arg", f"BASE={job.theirs}/base", job.context,
        )  # fmt: skip

    yield Peer("buildx", job_of, buildx.remove)


def cases(stack: ExitStack, quick: bool) -> Iterator[Case]:
    """Warm the caches and describe the comparisons."""
    folder = Path(tempfile.mkdtemp(prefix="bench-cache-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    job = Job(stack, folder, quick=quick)
    others = peers(stack, job)
    name = others[0].name
    empties = {
        "lading": job.empty,
        **{it.name: it.empty for it in others},
        **({} if quick else {"lading on docker-registry": job.empty}),
    }

    def contestants(*, write: bool) -> dict[str, Action]:
        ours_on_theirs = {"lading on docker-registry": job.with_lading(job.theirs, write=write)}
        return {
            "lading": job.with_lading(job.ours, write=write),
            **{it.name: it.job(write=write) for it in others},
            **({} if quick else ours_on_theirs),
        }

    for contestant, action in contestants(write=True).items():
        empties[contestant]()
        action()
    runs = 2 if quick else 7
    yield Case(
        "empty machine, nothing changed",
        contestants(write=False),
        f"<= 0.5 x {name}",
        runs,
        prepare=empties,
    )
    yield Case(
        "empty machine, one source file changed",
        contestants(write=True),
        f"<= 0.5 x {name}",
        runs,
        prepare={who: job.after_an_edit(empty) for who, empty in empties.items()},
    )
    yield Case(
        f"{SLOW_STEPS} slow steps with large layers, a slow link",
        {
            "lading": job.slowly(),
            **{it.name: it.slowly for it in others if it.slowly is not None},
            **({} if quick else {"lading, then push": job.one_after_the_other()}),
        },
        f"<= 0.9 x {others[-1].name}",
        1 if quick else 5,
    )


if __name__ == "__main__":
    if not shutil.which("docker-registry"):
        sys.exit("needs docker-registry")
    with ExitStack() as stack:
        main(partial(cases, stack), __doc__ or "")
