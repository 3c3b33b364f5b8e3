"""A busybox root made on the spot, and a box to run commands in."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Container, ContainerRequest, Rootfs, run, stop_launcher
from runtime.spec import Mount, Resources, Spec, default_spec
from tests.conftest import require_program

APPLETS = """
cat chmod chown cp cut date dd echo env false find grep head hostname id ifconfig ip kill ln ls
mkdir mknod mount mv nc nproc od ping ps pwd readlink rm route sed seq setsid sh sleep sort stat
stty su sync tail tee test touch tr true tty umount uname unshare vi wc wget xargs
""".split()  # noqa: SIM905 - forty quoted words read worse


_RUN = os.getpid()


def mark(number: int) -> str:
    """Seconds to sleep for ever, by which ``ps`` tells this test run's process from any other's.

    ``number`` is a digit that no other test of the file has.
    """
    return f"{number}{_RUN:07}"


def processes_of(folder: Path) -> dict[int, str]:
    """Pids and names of the processes that serve the run-time directory ``folder``."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "comm").read_text().strip()
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(folder) in words:
            found[int(path.name)] = name
    return found


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked image: busybox, a user bob and two groups. Never written by a test."""
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "etc", "tmp", "root", "home/bob", "var/run"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(require_program("busybox"), root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nbob:x:1000:\nstaff:x:50:bob\nwheel:x:10:root\n")
    (root / "bin/plain").write_text("echo not executable\n")
    return root


@pytest.fixture(scope="session")
def runtime_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run-time directory of this session, whose launcher ends with it."""
    folder = tmp_path_factory.mktemp("run") / "lading"
    yield folder
    stop_launcher(folder)


@dataclass(frozen=True)
class Outcome:
    """How a container ended and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Box:
    """Runs containers on a fresh upper directory; keyword arguments go to ``default_spec``."""

    rootfs: Path
    runtime_dir: Path
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    started: list[Container] = field(default_factory=list)

    @property
    def upper(self) -> Path:
        """What the container wrote."""
        return self.folder / "upper"

    @property
    def prefix(self) -> str:
        """What the ids of this box's containers begin with.

        Control groups have these names on the whole machine, where other runs of the tests may be.
        """
        return f"test-{_RUN}-{self.folder.parent.name}"

    def request(
        self,
        args: list[str],
        *,
        change: Callable[[Spec], Spec] = lambda spec: spec,
        lower: tuple[str, ...] = (),
        request: dict[str, Any] | None = None,
        **spec: Any,
    ) -> ContainerRequest:
        """A request for ``args``; ``change`` edits the configuration, ``request`` adds fields."""
        for name in ("upper", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        spec.setdefault("resources", Resources(pids_limit=256))
        fields: dict[str, Any] = {
            "id": f"{self.prefix}-{next(self.numbers)}",
            "network": spec.get("network", "none"),
            "rootfs": Rootfs(
                lower=(*lower, str(self.rootfs)),
                upper=str(self.folder / "upper"),
                work=str(self.folder / "work"),
                volatile=True,
            ),
        }
        document = change(default_spec(args, **spec))
        return ContainerRequest(**{**fields, "spec": document, **(request or {})})

    def start(
        self,
        request: ContainerRequest,
        *,
        stdin: int | None = None,
        terminal: bool = False,
    ) -> Container:
        """Start without waiting; output goes to files ``out`` and ``err`` of the folder."""
        null = os.open("/dev/null", os.O_RDONLY)
        out = os.open(self.folder / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        err = os.open(self.folder / "err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        try:
            container = run(
                request,
                stdin=null if stdin is None else stdin,
                stdout=out,
                stderr=err,
                terminal=terminal,
                runtime_dir=self.runtime_dir,
            )
        finally:
            for fd in (null, out, err):
                os.close(fd)
        self.started.append(container)
        return container

    def run(self, *args: str, terminal: bool = False, **options: Any) -> Outcome:
        """Run to the end."""
        container = self.start(self.request(list(args), **options), terminal=terminal)
        return self.outcome(container.wait(60))

    def sh(self, script: str, **options: Any) -> Outcome:
        """Run a shell script to the end."""
        return self.run("/bin/sh", "-c", script, **options)

    def outcome(self, code: int) -> Outcome:
        """What the last container said."""
        return Outcome(
            code,
            (self.folder / "out").read_bytes().decode(errors="replace"),
            (self.folder / "err").read_bytes().decode(errors="replace"),
        )

    def close(self) -> None:
        """Kill what still runs."""
        for container in self.started:
            container.kill(signal.SIGKILL)
            container.close()


@pytest.fixture
def box(rootfs: Path, runtime_dir: Path, tmp_path: Path) -> Iterator[Box]:
    """A box of this test."""
    folder = tmp_path / "box"
    folder.mkdir()
    made = Box(rootfs, runtime_dir, folder)
    yield made
    made.close()


def layer(folder: Path, **entries: str) -> str:
    """A layer directory with files (``name=content``); double underscores stand for slashes."""
    for name, content in entries.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def with_mounts(*mounts: Mount) -> Callable[[Spec], Spec]:
    """A change that appends mounts."""
    return lambda spec: replace(spec, mounts=(*spec.mounts, *mounts))


@pytest.fixture
def inside(box: Box, tmp_path: Path) -> Callable[..., Outcome]:
    """Run a Python script in a container that borrows this machine's interpreter and libraries."""
    folder = tmp_path / "python-layer"
    (folder / "usr").mkdir(parents=True)
    for name in ("lib", "lib32", "lib64"):
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    borrowed = {"/usr", sys.base_prefix}
    borrowed |= {f"/{name}" for name in ("lib", "lib64") if not Path("/", name).is_symlink()}
    mounts = [Mount(path, "bind", path, ("rbind", "ro")) for path in sorted(borrowed)]
    interpreter = f"{sys.base_prefix}/bin/python3"

    def run_script(script: str, *, args: tuple[str, ...] | None = None, **options: Any) -> Outcome:
        lower = (*options.pop("lower", ()), str(folder))
        extra = options.pop("mounts", [])
        command = args or (interpreter, "-I", "-S", "-c")
        return box.run(*command, script, lower=lower, mounts=[*mounts, *extra], **options)

    return run_script
