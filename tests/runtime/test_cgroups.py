"""Control groups on trees of plain files, and on this machine's own where there is one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runtime.cgroups import Group, Hierarchy, Layout, create, read_layout
from runtime.cgroups.limits import cpu_weight, device_line, v1_files, v2_files
from runtime.config import DeviceRule, Resources
from runtime.errors import RuntimeFault

HYBRID = """\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
35 99 0:30 / /elsewhere/memory rw shared:9 - cgroup cgroup rw,memory
"""
UNIFIED = "31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_hybrid_host_counts_as_version_one() -> None:
    layout = read_layout(HYBRID.splitlines(keepends=True))
    assert layout.version == 1
    assert layout.unified == "/sys/fs/cgroup/unified"
    assert layout.hierarchies == (
        Hierarchy("systemd", "/sys/fs/cgroup/systemd", ()),
        Hierarchy("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", ("cpu", "cpuacct")),
        Hierarchy("memory", "/sys/fs/cgroup/memory", ("memory",)),
    )


def test_a_unified_host_and_one_without_any() -> None:
    assert read_layout([UNIFIED]) == Layout((), "/sys/fs/cgroup")
    assert read_layout([UNIFIED]).version == 2
    assert read_layout([]).version == 0


@pytest.fixture
def v2(tmp_path: Path) -> Layout:
    root = tmp_path / "cgroup"
    fake_v2(root)
    fake_v2(root / "lading")
    fake_v2(root / "lading/box")
    return Layout((), str(root))


def fake_v2(folder: Path) -> None:
    """The files that the kernel would put into a directory."""
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    for name in (
        *("cgroup.subtree_control", "cgroup.procs", "cgroup.kill", "cgroup.freeze"),
        *("memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "pids.max"),
        *("cpuset.cpus", "cpuset.mems", "memory.high"),
    ):
        (folder / name).touch()
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n")


def test_version_two_limits_land_in_their_files(v2: Layout) -> None:
    seen = []
    resources = Resources(
        devices=(DeviceRule(allow=False),),
        memory_limit=64 << 20,
        memory_swap=96 << 20,
        memory_reservation=-1,
        cpu_shares=1024,
        cpu_quota=50000,
        pids_limit=0,
        cpuset_cpus="0-1",
        unified={"memory.high": "60000000"},
    )
    group = create(
        v2, "lading/box", resources, attach_device_filter=lambda *args: seen.append(args)
    )
    folder = Path(v2.unified or "", "lading/box")
    wanted = {
        "memory.max": str(64 << 20),
        "memory.swap.max": str(32 << 20),
        "memory.low": "max",
        "cpu.weight": "100",
        "cpu.max": "50000 100000",
        "pids.max": "max",
        "cpuset.cpus": "0-1",
        "memory.high": "60000000",
    }
    assert {name: (folder / name).read_text() for name in wanted} == wanted
    assert (folder.parent / "cgroup.subtree_control").read_text().startswith("+")
    assert group.unified == str(folder)
    assert group.version == 2
    assert seen == [(str(folder), resources.devices)]


def test_version_two_counts_kills_and_freezes(v2: Layout) -> None:
    group = create(v2, "lading/box", Resources())
    folder = Path(group.unified or "")
    assert group.oom_kills() == 2
    group.freeze(frozen=True)
    assert (folder / "cgroup.freeze").read_text() == "1"
    group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"
    assert (folder / "cgroup.freeze").read_text() == "0"


def test_a_limit_the_kernel_lacks(v2: Layout) -> None:
    folder = Path(v2.unified or "", "lading/box")
    (folder / "memory.swap.max").unlink()
    create(v2, "lading/box", Resources(memory_limit=1, memory_swap=2))
    (folder / "pids.max").unlink()
    with pytest.raises(RuntimeFault, match="cannot set up control group"):
        create(v2, "lading/box", Resources(pids_limit=1))


@pytest.mark.parametrize("path", ["../x", "a//b", "", "a/../b", "/", "a/./b", "a b", "-x", "a\nb"])
def test_paths_stay_below_the_mount(v2: Layout, path: str) -> None:
    with pytest.raises(RuntimeFault) as caught:
        create(v2, path, Resources())
    assert caught.value.code == "request-invalid"


def test_unified_names_are_file_names(v2: Layout) -> None:
    with pytest.raises(RuntimeFault):
        create(v2, "lading/box", Resources(unified={"../cgroup.procs": "1"}))


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262144, 10000)]
)
def test_cpu_weight_follows_the_curve(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_version_one_files_in_writing_order() -> None:
    resources = Resources(memory_limit=5, memory_swap=6, memory_reservation=4, cpu_shares=7)
    assert v1_files("memory", resources) == [
        ("memory.soft_limit_in_bytes", "4"),
        ("memory.limit_in_bytes", "5"),
        ("memory.memsw.limit_in_bytes", "6"),
    ]
    assert v1_files("cpu", resources) == [("cpu.shares", "7")]
    assert v1_files("blkio", resources) == []
    assert v2_files(Resources(cpu_quota=-1)) == [("cpu.max", "max 100000")]


def test_device_lines() -> None:
    assert device_line(DeviceRule(allow=True)) == "a"
    assert device_line(DeviceRule(True, "c", 1, 3, "rw")) == "c 1:3 rw"
    assert device_line(DeviceRule(True, "b", None, None, "m")) == "b *:* m"


@pytest.fixture
def real() -> Layout:
    layout = read_layout()
    if layout.version == 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("no writable control groups")
    return layout


@pytest.mark.root
def test_real_groups_come_and_go(real: Layout) -> None:
    path = f"lading/test-cgroups-{os.getpid()}"
    group = create(real, path, Resources(pids_limit=10))
    assert all(Path(directory).is_dir() for _, directory in group.directories)
    group.remove()
    group.remove()
    assert not any(Path(directory).exists() for _, directory in group.directories)


@pytest.mark.root
def test_real_groups_die_whole(real: Layout) -> None:
    if real.version != 1:
        pytest.skip("joining is by birth on version two")
    group = create(real, f"lading/test-kill-{os.getpid()}", Resources(pids_limit=20))
    child = os.fork()
    if child == 0:
        group.join()
        for _ in range(3):
            if os.fork() == 0:
                signal.pause()
        signal.pause()
    while len(group.processes()) < 4:
        os.sched_yield()
    group.kill()
    os.waitpid(child, 0)
    assert group.processes() == set()
    group.remove()


def test_a_group_of_nothing() -> None:
    group = Group(())
    assert group.processes() == set()
    assert group.oom_kills() == 0
    group.join()
    group.remove()
