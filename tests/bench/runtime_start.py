"""A container's life around /bin/true, against runc and crun; and how many fit into a second.

Run as root: ``python -m tests.bench.runtime_start [--quick] [--json FILE]``. Ours mounts an overlay
of three layers and makes every namespace; the peers get the same files as a plain directory, and
crun, which refuses hybrid control groups, a mount namespace without the unified tree.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from runtime import constants as k
from runtime import syscalls
from runtime.client import Container, ContainerRequest, Rootfs, run, stop_launcher
from runtime.spec import default_spec
from tests.bench.harness import Action, Case, main, quietly

REST_SECONDS = 0.1
"""Between runs, so that nobody profits from or pays for the one before."""


class Contest:
    """A root file system, a launcher of its own, and bundles for the peers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        root = folder / "rootfs"
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or sys.exit("needs busybox"), root / "bin/busybox")
        (root / "bin/true").symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        for name in ("one", "two", "upper", "work", "bundle"):
            (folder / name).mkdir()
        lower = (str(folder / "two"), str(folder / "one"), str(root))
        overlay = (str(folder / "upper"), str(folder / "work"))
        self._rootfs = Rootfs(lower, *overlay, volatile=True)
        self._null = os.open("/dev/null", os.O_RDWR)
        atexit.register(stop_launcher, folder / "run")

    def start(self, network: str) -> Container:
        """Start one of ours."""
        request = ContainerRequest(
            f"bench-{next(self._numbers)}",
            default_spec(["/bin/true"], hostname="bench", network=network),
            self._rootfs,
            network=network,
        )
        null = self._null
        folder = self._folder / "run"
        return run(request, stdin=null, stdout=null, stderr=null, runtime_dir=folder)

    def ours(self, network: str) -> Action:
        """Run one of ours to the end."""

        def action() -> None:
            if self.start(network).wait(60) != 0:
                sys.exit("the container failed")

        return action

    def peer(self, program: str) -> Action:
        """Run one of a peer's to the end, with a container like ours."""
        bundle = self._folder / "bundle" / program
        bundle.mkdir()
        subprocess.run([program, "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update({"terminal": False, "args": ["/bin/true"]})
        config["root"] = {"path": str(self._folder / "rootfs"), "readonly": False}
        (bundle / "config.json").write_text(json.dumps(config))

        def action() -> None:
            quietly(program, "run", f"bench-{next(self._numbers)}", cwd=bundle)()

        return action


def cases(quick: bool) -> Sequence[Case]:
    """The comparisons."""
    contest = Contest(Path(tempfile.mkdtemp(prefix="lading-bench-")))
    rest = {name: lambda: time.sleep(REST_SECONDS) for name in ("lading", "runc", "crun")}
    peers = {name: contest.peer(name) for name in ("runc", "crun") if shutil.which(name)}
    runs = 15 if quick else 60
    return [
        Case(
            "run true, all namespaces, no network",
            {"lading": contest.ours("none"), **peers},
            target="8 ms",
            runs=runs,
            prepare=rest,
        ),
        Case(
            "run true back to back",
            {"lading": contest.ours("none"), **peers},
            runs=runs,
        ),
        Case("run true with a bridge", {"lading": contest.ours("bridge")}, runs=runs, prepare=rest),
    ]


def leave_unified() -> None:
    """Hide the unified tree of a hybrid host from this process and its peers."""
    syscalls.unshare(k.CLONE_NEWNS)
    syscalls.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE, None)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        syscalls.umount2("/sys/fs/cgroup/unified", k.MNT_DETACH)


if __name__ == "__main__":
    leave_unified()
    main(cases, __doc__ or "")
