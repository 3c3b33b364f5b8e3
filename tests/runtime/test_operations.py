"""Each operation's calls and their order, without root."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from runtime import constants as k
from runtime import syscalls
from runtime.config import Device
from runtime.confinement import (
    ControlGroups,
    DeviceNodes,
    Hostname,
    MaskedPath,
    PivotRoot,
    ReadonlyPath,
    RootAttributes,
)
from runtime.errors import RuntimeFault
from runtime.kernel import Kernel
from runtime.mount_options import MountOptions, parse
from runtime.operations import (
    BindMount,
    DetachFromHost,
    FilesystemMount,
    MemoryFile,
    Operation,
    Overlay,
    OverlayBind,
    PrivateProc,
    RootMount,
    Stage,
    Sysctl,
    write_proc,
)
from tests.runtime.recorder import Recorder


def perform(operation: Operation, recorder: Recorder, **stage: int) -> list[str]:
    """Execute on a stage whose root is a descriptor named ``root``."""
    kernel: Kernel = recorder
    place = Stage(kernel, root=recorder._new("root"), **stage)
    place.mounts["/dev"] = recorder._new("dev")
    operation.execute(place)
    return recorder.calls


def test_the_real_module_is_a_kernel() -> None:
    from runtime import syscalls

    kernel: Kernel = syscalls
    assert kernel is syscalls


def test_detaching_is_private_or_slave() -> None:
    assert perform(DetachFromHost(), Recorder()) == ["mount None / None 0x44000 None"]
    assert perform(DetachFromHost(slave=True), Recorder()) == ["mount None / None 0x84000 None"]


def test_overlay_root_names_layers_by_descriptor() -> None:
    recorder = Recorder()
    source = Overlay(("/top", "/bottom"), "/upper", "/work", volatile=True)
    calls = perform(RootMount("/point", source), recorder)
    assert calls == [
        "fsconfig overlay source=overlay",
        "fsconfig overlay lowerdir+=/top",
        "fsconfig overlay lowerdir+=/bottom",
        "fsconfig overlay redirect_dir=off",
        "fsconfig overlay metacopy=off",
        "fsconfig overlay index=off",
        "fsconfig overlay upperdir=/upper",
        "fsconfig overlay workdir=/work",
        "fsconfig overlay volatile",
        "create overlay",
        "fsmount overlay 0x0",
        f"setattr <overlay> propagation {k.MS_PRIVATE:#x} recursive",
        "move <overlay> to /point",
    ]
    assert recorder.open_descriptors() == {"root", "dev", "<overlay>"}


def test_overlay_falls_back_to_the_old_call() -> None:
    recorder = Recorder(refuse={"lowerdir+": errno.EINVAL})
    calls = perform(RootMount("/point", Overlay(("/a", "/b"), "/u", "/w")), recorder)
    (mounted,) = [call for call in calls if call.startswith("mount overlay")]
    assert "lowerdir=" in mounted
    assert mounted.count("/proc/self/fd/") == 5
    assert calls[-4:-2] == ["clone /point", f"umount2 /point {k.MNT_DETACH}"]
    assert calls[-1] == "move /point to /point"


def test_plain_root_is_a_recursive_private_clone() -> None:
    assert perform(RootMount("/point", "/tree"), Recorder()) == [
        "clone /tree recursive",
        f"setattr /tree propagation {k.MS_PRIVATE:#x} recursive",
        "move /tree to /point",
    ]


def test_bind_is_narrowed_before_it_is_attached() -> None:
    bind = BindMount("/data", "/host/data", parse(("rbind", "ro", "nosuid")))
    assert perform(bind, Recorder()) == [
        "clone /host/data recursive",
        "setattr /host/data +0x3 recursive",
        f"setattr /host/data propagation {k.MS_PRIVATE:#x} recursive",
        "move /host/data to root:data",
    ]


def test_bind_of_a_file_makes_a_file() -> None:
    recorder = Recorder(missing=("root:etc/one",), kinds={"/host/file": stat.S_IFREG})
    calls = perform(BindMount("/etc/one", "/host/file", MountOptions()), recorder)
    assert calls[-2:] == ["mknod root:etc one 100644 0:0", "move /host/file to root:etc:one"]


def test_bind_of_nothing_is_refused_and_makes_nothing() -> None:
    recorder = Recorder(missing=("/gone",))
    with pytest.raises(RuntimeFault, match="bind source path does not exist: /gone") as caught:
        perform(BindMount("/etc/two", "/gone", MountOptions()), recorder)
    assert caught.value.code == "mount-refused"
    assert recorder.calls == []


def test_mounts_into_procfs_are_refused() -> None:
    recorder = Recorder(magic={"root:way": k.PROC_SUPER_MAGIC})
    with pytest.raises(RuntimeFault, match="lies inside /proc") as caught:
        perform(FilesystemMount("/way", "tmpfs", MountOptions()), recorder)
    assert caught.value.code == "mount-refused"
    assert not [call for call in recorder.calls if call.startswith("move")]


def test_private_proc_is_never_attached_and_reached_without_links() -> None:
    recorder = Recorder()
    stage = Stage(recorder)
    PrivateProc().execute(stage)
    Sysctl("net.ipv4.ip_forward", "1").execute(stage)
    write_proc(stage, "1/oom_score_adj", b"5")
    assert recorder.calls == [
        "fsconfig proc source=proc",
        "create proc",
        "fsmount proc 0xe",
        "write <proc>:sys/net/ipv4/ip_forward 1",
        "write <proc>:1/oom_score_adj 5",
    ]


def test_a_sysctl_that_does_not_exist_is_the_requests_fault() -> None:
    recorder = Recorder(missing=("<proc>:sys/net/nothing",))
    stage = Stage(recorder)
    PrivateProc().execute(stage)
    with pytest.raises(RuntimeFault, match=r"cannot set sysctl net\.nothing") as caught:
        Sysctl("net.nothing", "1").execute(stage)
    assert caught.value.code == "request-invalid"


def test_secret_is_written_on_a_tmpfs_and_bound_read_only() -> None:
    secret = MemoryFile("/run/key", b"hidden", 0o440, 5, 6, "/state/scratch/0")
    calls = perform(secret, Recorder(kinds={"<tmpfs>:content": stat.S_IFREG}))
    assert calls[-7:] == [
        "move <tmpfs> to /state/scratch/0",
        "write <tmpfs>:content hidden",
        "chown <tmpfs>:content 5:6",
        "chmod <tmpfs>:content 440",
        "clone <tmpfs>:content",
        "setattr <tmpfs>:content +0x1",
        "move <tmpfs>:content to root:run/key",
    ]
    assert "hidden" not in secret.describe()
    assert "hidden" not in repr(secret)


def test_overlay_bind_cuts_out_a_subtree() -> None:
    source = Overlay(("/lower",), None, None)
    calls = perform(OverlayBind("/mnt", source, "app", "/scratch", parse(("ro",))), Recorder())
    assert calls[-5:] == [
        "move <overlay> to /scratch",
        "clone <overlay>:app",
        "setattr <overlay>:app +0x1",
        f"setattr <overlay>:app propagation {k.MS_PRIVATE:#x} recursive",
        "move <overlay>:app to root:mnt",
    ]


def test_masks_are_the_verified_null_device_or_an_empty_tmpfs() -> None:
    kinds = {"root:proc/kcore": stat.S_IFREG, "/dev/null": stat.S_IFCHR}
    assert perform(MaskedPath("/proc/kcore"), Recorder(kinds=kinds)) == [
        "clone /dev/null",
        "move /dev/null to root:proc/kcore",
    ]
    folder = perform(MaskedPath("/sys/firmware"), Recorder())
    assert folder[-2:] == ["fsmount tmpfs 0x7", "move <tmpfs> to root:sys/firmware"]
    assert perform(MaskedPath("/proc/gone"), Recorder(missing=("root:proc/gone",))) == []


def test_a_null_device_that_is_none_is_not_trusted() -> None:
    kinds = {"root:proc/kcore": stat.S_IFREG, "/dev/null": stat.S_IFREG}
    with pytest.raises(RuntimeFault, match="not the null device"):
        perform(MaskedPath("/proc/kcore"), Recorder(kinds=kinds))


def test_read_only_paths_are_recursive() -> None:
    assert perform(ReadonlyPath("/proc/sys"), Recorder()) == [
        "clone root:proc/sys recursive",
        "setattr root:proc/sys +0x1 recursive",
        "move root:proc/sys to root:proc/sys",
    ]


def test_device_nodes_are_made_on_the_fresh_tmpfs() -> None:
    devices = (Device("/dev/null", "c", 1, 3), Device("/dev/net/tun", "c", 10, 200, 0o600))
    calls = perform(DeviceNodes(devices, (("fd", "/proc/self/fd"),)), Recorder())
    assert calls == [
        "mknod dev null 20666 1:3",
        "mknod dev:net tun 20600 10:200",
        "symlink dev fd -> /proc/self/fd",
    ]


@pytest.mark.parametrize("path", ["/dev/../etc/x", "/etc/x", "/dev", "/dev/a/../../x"])
def test_device_paths_stay_below_dev(path: str) -> None:
    with pytest.raises(RuntimeFault, match="below /dev"):
        perform(DeviceNodes((Device(path, "c"),), ()), Recorder())


def test_control_groups_are_one_bind_per_hierarchy() -> None:
    groups = (("cpu,cpuacct", "/cg/cpu/x"), ("pids", "/cg/pids/x"))
    calls = perform(ControlGroups("/sys/fs/cgroup", groups, (("cpu", "cpu,cpuacct"),)), Recorder())
    assert "symlink <tmpfs> cpu -> cpu,cpuacct" in calls
    assert "setattr /cg/pids/x +0xf" in calls
    assert "move /cg/pids/x to root:sys/fs/cgroup/pids" in calls
    assert calls[-1] == "setattr <tmpfs> +0x1"
    unified = perform(ControlGroups("/sys/fs/cgroup", (("", "/cg/x"),)), Recorder())
    assert unified[-1] == "move /cg/x to root:sys/fs/cgroup/"


def test_pivot_leaves_nothing_of_the_host() -> None:
    assert perform(PivotRoot(), Recorder()) == [
        "chdir root",
        "pivot_root . .",
        f"umount2 . {k.MNT_DETACH}",
        "chdir root",
    ]


def test_root_attributes_and_names() -> None:
    assert perform(RootAttributes(read_only=True), Recorder()) == [
        f"setattr root +0x1 propagation {k.MS_PRIVATE:#x}"
    ]
    assert perform(Hostname("box", "example"), Recorder()) == [
        "sethostname box",
        "setdomainname example",
    ]


@pytest.mark.root
def test_the_old_call_mounts_as_many_layers(tmp_path: Path) -> None:
    class OldKernel:
        """Linux before 6.5: everything but ``lowerdir+``."""

        def __getattr__(self, name: str) -> Any:
            return getattr(syscalls, name)

        def fsconfig_string(self, fd: int, key: str, value: str) -> None:
            if key == "lowerdir+":
                raise OSError(errno.EINVAL, "Invalid argument", key)
            syscalls.fsconfig_string(fd, key, value)

    lowers = []
    for number in range(150):
        folder = tmp_path / f"a rather long name for a layer, number {number}"
        folder.mkdir()
        (folder / f"f{number}").write_text("x")
        lowers.append(str(folder))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    child = os.fork()
    if child == 0:
        syscalls.unshare(k.CLONE_NEWNS)
        syscalls.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE, None)
        mount = Overlay(tuple(lowers)).mount(cast("Kernel", OldKernel()), str(scratch))
        names = os.listdir(mount_fd := os.open(f"/proc/self/fd/{mount}", os.O_RDONLY))
        os.close(mount_fd)
        os._exit(0 if len(names) == 150 and not os.listdir(scratch) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
