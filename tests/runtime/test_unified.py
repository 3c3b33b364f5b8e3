"""Whole containers on cgroup v2, on any machine: a namespace where it is the only hierarchy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cgroups import read_layout
from tests.runtime.conftest import Box, mark

pytestmark = pytest.mark.root

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from runtime.client import ContainerRequest, Rootfs, run, stop_launcher
from runtime.spec import default_spec
folder = Path(sys.argv[3])
identifier, pid = sys.argv[4], sys.argv[5]
spec = default_spec(["sh", "-c", sys.argv[6]], host_namespaces=["pid"] if pid == "host" else [])
request = ContainerRequest(identifier, spec, Rootfs(lower=(sys.argv[2],)))
try:
    code = run(request, stdin=0, stdout=1, stderr=2, runtime_dir=folder).wait(60)
finally:
    stop_launcher(folder)
assert not Path("/sys/fs/cgroup/lading", identifier).exists()
sys.exit(code)
"""
ALONE = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'


def run_unified(
    box: Box, folder: Path, script: str, *, pid: str = "own"
) -> subprocess.CompletedProcess[str]:
    if read_layout().unified is None:
        pytest.skip("no cgroup2 hierarchy")
    command = ["unshare", "-m", "sh", "-c", ALONE, "sh", sys.executable, "-c", PROGRAM]
    command += [os.getcwd(), str(box.rootfs), str(folder / "run"), f"{box.prefix}-v2", pid, script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_container_is_born_in_its_group(box: Box, tmp_path: Path) -> None:
    done = run_unified(
        box,
        tmp_path,
        "cat /proc/self/cgroup; test -f /sys/fs/cgroup/cgroup.procs && wc -l < "
        "/sys/fs/cgroup/cgroup.procs; echo 0 > /sys/fs/cgroup/cgroup.procs; exit 5",
    )
    assert done.returncode == 5, done.stderr
    assert "0::/\n" in done.stdout
    assert int(done.stdout.splitlines()[-1]) >= 1
    assert "Read-only file system" in done.stderr


def test_devices_are_filtered(box: Box, tmp_path: Path) -> None:
    done = run_unified(
        box,
        tmp_path,
        "cd /dev; mknod mem c 1 1 && cat mem; mknod disk b 254 0 && dd if=disk count=1; "
        "echo x > null && head -c 3 zero | wc -c",
    )
    assert done.stdout == "3\n", done.stderr
    assert done.stderr.count("Operation not permitted") == 2


def test_everything_inside_is_killed_with_it(box: Box, tmp_path: Path) -> None:
    sleep = f"sleep {mark(1)}"
    done = run_unified(box, tmp_path, f"setsid {sleep} & setsid {sleep} & exit 3", pid="host")
    assert done.returncode == 3, done.stderr
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert sleep not in running.stdout
