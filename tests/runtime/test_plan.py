"""Plans: what is done in which order, and what is refused before anything is done."""

from __future__ import annotations

import pytest

from runtime.config import Mount, Namespace
from runtime.errors import RuntimeFault
from runtime.plan import Places, mount_points, plan, scratch_slots
from runtime.request import ETC_FILES, Rootfs, SecretFile
from runtime.spec import default_spec

ROOTFS = Rootfs(lower=("/image",), upper="/up", work="/work")
PLACES = Places("/state", (("pids", "/cg/pids/x"),), (), "/stubs")


def described(**options) -> list[str]:
    spec = default_spec(["true"], hostname="box", **options)
    return [operation.describe() for operation in plan(spec, ROOTFS, PLACES)]


def position(lines: list[str], start: str) -> int:
    return next(index for index, line in enumerate(lines) if line.startswith(start))


def test_the_order_of_a_default_container() -> None:
    lines = described(mounts=[Mount("/data", "bind", "/host/data", ("rbind",))])
    order = [
        "make / recursively private",
        "overlay 2 directories",
        "open a private procfs",
        "mount proc on /proc",
        "mount tmpfs on /dev ",
        "make devices null",
        "mount devpts on /dev/pts",
        "mount sysfs on /sys",
        "control groups pids on /sys/fs/cgroup",
        "mount mqueue",
        "mount tmpfs on /dev/shm",
        "bind /host/data on /data",
        "bind /state/hosts on /etc/hosts",
        "sysctl net.ipv4.ip_unprivileged_port_start=0",
        "make /proc/bus read-only",
        "mask /proc/acpi",
        "hostname box",
        "pivot into the root",
        "root writable",
    ]
    positions = [position(lines, start) for start in order]
    assert positions == sorted(positions)
    assert len(set(lines)) == len(lines)


def test_privileged_masks_nothing() -> None:
    lines = described(privileged=True)
    assert not [line for line in lines if line.startswith("mask ") or line.endswith("read-only")]
    assert "mount sysfs on /sys" in lines


def test_a_mount_that_wants_later_mounts_makes_the_tree_a_slave() -> None:
    lines = described(mounts=[Mount("/data", "bind", "/data", ("rbind", "rslave"))])
    assert lines[0] == "make / recursively slave"


def test_files_below_etc_yield_to_mounts_of_the_user() -> None:
    lines = described(mounts=[Mount("/etc/hosts", "bind", "/my/hosts", ("bind",))])
    assert [line for line in lines if "/etc/hosts" in line] == ["bind /my/hosts on /etc/hosts (rw)"]


def test_no_network_sysctls_with_the_hosts_network() -> None:
    assert not [line for line in described(network="host") if line.startswith("sysctl")]


@pytest.mark.parametrize(
    "mount", [Mount("/", "tmpfs"), Mount("/bin/..", "tmpfs"), Mount("/proc", "tmpfs")]
)
def test_impossible_destinations(mount: Mount) -> None:
    with pytest.raises(RuntimeFault) as caught:
        described(mounts=[mount])
    assert caught.value.code == "mount-refused"


@pytest.mark.parametrize("name", ["kernel.core_pattern", "vm.swappiness", "net/x", "", "net..x"])
def test_sysctls_of_the_host_are_refused(name: str) -> None:
    with pytest.raises(RuntimeFault, match="separate kernel namespace"):
        described(sysctl={name: "1"})


def test_sysctls_need_their_namespace() -> None:
    with pytest.raises(RuntimeFault, match="network namespace is the host's"):
        described(sysctl={"net.core.somaxconn": "1"}, network="host")
    with pytest.raises(RuntimeFault, match="ipc namespace is the host's"):
        described(sysctl={"fs.mqueue.msg_max": "1"}, host_namespaces=["ipc"])


def test_user_mounts_go_by_depth_and_replace_defaults() -> None:
    spec = default_spec(
        ["true"],
        mounts=[Mount("/a/b/c", "tmpfs"), Mount("/a", "tmpfs"), Mount("/dev/shm", "tmpfs")],
    )
    destinations = [mount.destination for mount in spec.mounts]
    assert destinations.index("/a") < destinations.index("/a/b/c")
    assert destinations.count("/dev/shm") == 1
    assert next(m for m in spec.mounts if m.destination == "/dev/shm").options == ()


def test_mount_points_are_those_of_the_root_alone() -> None:
    spec = default_spec(
        ["true"],
        mounts=[
            Mount("/data", "bind", "/host/data"),
            Mount("/data/inner", "tmpfs"),
            Mount("/conf/../etc/one", "bind", "/host/file"),
        ],
    )
    points = mount_points(
        spec,
        directories={"/host/data": True, "/host/file": False},
        etc_files=ETC_FILES,
        secrets=[SecretFile("/run/secrets/key", b"")],
    )
    assert points == [
        ("data", True),
        ("dev", True),
        ("etc/hostname", False),
        ("etc/hosts", False),
        ("etc/one", False),
        ("etc/resolv.conf", False),
        ("proc", True),
        ("run/secrets/key", False),
        ("sys", True),
    ]


def test_scratch_directories_only_where_needed() -> None:
    spec = default_spec(["true"], mounts=[Mount("/o", "overlay", "", ("lowerdir+=/x",))])
    slots = scratch_slots(spec, [SecretFile("/s", b"")])
    assert slots == [7, 8]
    lines = [
        operation.scratch
        for operation in plan(spec, ROOTFS, PLACES, secrets=[SecretFile("/s", b"")])
        if hasattr(operation, "scratch")
    ]
    assert lines == ["/state/scratch/7", "/state/scratch/8"]


def test_a_joined_namespace_is_not_a_shared_one() -> None:
    from dataclasses import replace

    spec = default_spec(["true"], network="host", sysctl={"net.core.somaxconn": "1"})
    joined = Namespace("network", "/proc/1/ns/net")
    linux = replace(spec.linux, namespaces=(*spec.linux.namespaces, joined))
    assert plan(replace(spec, linux=linux), ROOTFS, PLACES)
