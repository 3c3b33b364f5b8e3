"""Ways out through the kernel: system calls, control groups, devices, /proc and /sys."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

import pytest

from runtime.client import RuntimeFault
from tests.runtime.conftest import Box, Outcome

pytestmark = pytest.mark.root
Inside = Callable[..., Outcome]

SYSCALLS = """
import ctypes, errno, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *args, *[0] * (6 - len(args)))
    return errno.errorcode.get(ctypes.get_errno(), result) if result < 0 else "ok"
def int80(number, first=0):
    code = bytes([0x53, 0xB8]) + number.to_bytes(4, "little")
    code += bytes([0xBB]) + first.to_bytes(4, "little")
    code += bytes([0x31, 0xC9, 0x31, 0xD2, 0xCD, 0x80, 0x5B, 0xC3])
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = function()
    return errno.errorcode.get(-result, result) if result < 0 else "ok"
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
class TestSeccomp:
    """Calls that have led out of containers, on every road into the kernel."""

    FORBIDDEN: ClassVar[dict[str, int]] = {
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "unshare": 272,
        "setns": 308,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "open_by_handle_at": 304,
        "init_module": 175,
        "kexec_load": 246,
        "reboot": 169,
        "swapon": 167,
        "open_tree": 428,
        "fsopen": 430,
        "mount_setattr": 442,
        "pidfd_getfd": 438,
        "kcmp": 312,
        "quotactl": 179,
        "settimeofday": 164,
    }

    def test_native_calls(self, inside: Inside) -> None:
        script = SYSCALLS + f"for n in {list(self.FORBIDDEN.values())}: print(call(n))"
        answers = inside(script).out.split()
        assert dict(zip(self.FORBIDDEN, answers, strict=True)) == dict.fromkeys(
            self.FORBIDDEN, "EPERM"
        )

    def test_same_calls_by_the_x32_road(self, inside: Inside) -> None:
        numbers = [0x40000000 + number for number in self.FORBIDDEN.values()]
        answers = inside(SYSCALLS + f"for n in {numbers}: print(call(n))").out.split()
        assert set(answers) <= {"EPERM", "ENOSYS"}

    def test_same_calls_by_the_32_bit_road(self, inside: Inside) -> None:
        # i386: mount 21, umount2 52, unshare 310, setns 346, keyctl 288, bpf 357, clone3 435
        script = SYSCALLS + "for n in (21, 52, 310, 346, 288, 357, 20): print(int80(n))\n"
        script += "print(int80(102, 1), int80(435))"
        outcome = inside(script)
        assert outcome.out.split() == ["EPERM"] * 6 + ["ok", "ENOSYS", "ENOSYS"], outcome.err

    def test_clone_may_not_make_namespaces(self, inside: Inside) -> None:
        flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
        script = SYSCALLS + f"for f in {flags}: print(call(56, f | 17))\nprint(call(435, 0, 0))"
        assert inside(script).out.split() == ["EPERM"] * len(flags) + ["ENOSYS"]

    def test_sockets_of_dangerous_families(self, inside: Inside) -> None:
        script = SYSCALLS + (
            "print(call(41, 40, 1, 0), call(41, 38, 5, 0), call(41, (1 << 32) + 40, 1, 0),"
            " call(41, (7 << 32) + 38, 5, 0), call(41, 2, 1, 0), call(41, 1, 1, 0))"
        )
        assert inside(script).out.split() == ["EPERM"] * 4 + ["ok"] * 2

    def test_personality(self, inside: Inside) -> None:
        values = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x0400000, 0x0040000)
        answers = inside(SYSCALLS + f"for v in {values}: print(call(135, v))").out.split()
        assert answers == ["ok"] * 5 + ["EPERM"] * 2

    def test_calls_newer_than_the_profile_do_not_exist(self, inside: Inside) -> None:
        assert (
            inside(SYSCALLS + "print(call(470), call(999), call(5000))").out.split()
            == ["ENOSYS"] * 3
        )

    def test_capabilities_open_their_calls(self, inside: Inside) -> None:
        answer = inside(SYSCALLS + "print(call(272, 0x20000))", cap_add=["SYS_ADMIN"]).out
        assert answer == "ok\n"

    def test_unconfined_and_no_new_privileges(self, inside: Inside) -> None:
        script = "print([l for l in open('/proc/self/status') if l[:7] in ('Seccomp', 'NoNewPr')])"
        out = inside(script, no_new_privileges=True).out
        assert "NoNewPrivs:\\t1" in out
        assert "Seccomp:\\t2" in out
        assert "Seccomp:\\t0" in inside(script, request={"seccomp": "unconfined"}).out


class TestControlGroupEscapes:
    """CVE-2022-0492 and its kin."""

    def test_control_groups_are_read_only_and_without_release_agent(self, box: Box) -> None:
        outcome = box.sh(
            "find /sys/fs/cgroup -name release_agent; "
            "find /sys/fs/cgroup -name 'devices.allow' -o -name 'cgroup.procs' | "
            "while read f; do echo a > $f && echo wrote $f; done; "
            "mkdir /sys/fs/cgroup/x && echo made; mkdir /mnt; "
            "mount -t cgroup -o devices none /mnt && echo mounted; "
            "mount -o remount,rw /sys/fs/cgroup && echo remounted"
        )
        assert outcome.out == ""

    def test_devices_of_the_host_do_not_open(self, box: Box) -> None:
        outcome = box.sh(
            "for n in '8 0' '254 0' '259 0' '7 0'; do mknod /disk b $n && dd if=/disk count=1 "
            "of=/dev/null && echo opened $n; rm -f /disk; done; "
            "mknod /mem c 1 1 && cat /mem && echo opened; mknod /kmsg c 1 11 && echo x > /kmsg "
            "&& echo wrote; mknod /fuse c 10 229 && cat /fuse && echo opened; "
            "mknod /null c 1 3 && echo x > /null && echo null works"
        )
        assert outcome.out == "null works\n"
        assert outcome.err.count("Operation not permitted") >= 6


class TestKernelKnobs:
    """Masked and read-only paths, and sysctls that are not the container's."""

    def test_host_knobs_cannot_be_turned(self, box: Box) -> None:
        names = (
            "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/hostname "
            "/proc/sys/vm/drop_caches /proc/irq/default_smp_affinity /sys/kernel/uevent_helper "
            "/sys/kernel/mm/ksm/run /proc/sys/fs/binfmt_misc/register"
        )
        outcome = box.sh(
            f"for f in {names}; do [ -e $f ] && echo 1 > $f && echo turned $f; done; "
            "mount -o remount,rw /proc/sys && echo remounted; umount /proc/sys && echo unmounted"
        )
        assert outcome.out == ""

    def test_masked_files_say_nothing(self, box: Box) -> None:
        names = "kcore keys latency_stats timer_list timer_stats sched_debug interrupts"
        outcome = box.sh(
            f"for f in {names}; do [ -e /proc/$f ] && wc -c < /proc/$f; done; "
            "ls -A /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap "
            "2>/dev/null | grep -v :"
        )
        assert not set(outcome.out.split()) - {"0"}

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("kernel.core_pattern", {}),
            ("vm.swappiness", {}),
            ("net.ipv4.ip_forward", {"network": "host"}),
            ("kernel.shmmax", {"host_namespaces": ["ipc"]}),
            ("net/../kernel.hostname", {}),
            ("net..kernel", {}),
        ],
    )
    def test_foreign_sysctls_are_refused(self, box: Box, name: str, options: dict) -> None:
        with pytest.raises(RuntimeFault, match="sysctl") as caught:
            box.run("true", sysctl={name: "1"}, **options)
        assert caught.value.code == "request-invalid"

    def test_own_sysctls_are_set(self, box: Box) -> None:
        sysctl = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345"}
        outcome = box.sh(
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax "
            "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            sysctl=sysctl,
        )
        assert outcome.out == "1\n12345\n0\n"

    def test_a_nested_procfs_does_not_show_what_is_masked(self, box: Box) -> None:
        script = "unshare -Urpf sh -c 'mkdir -p /tmp/p; mount -t proc proc /tmp/p && echo mounted'"
        assert box.sh(script).out == ""
        unconfined = {"seccomp": "unconfined"}
        assert box.sh(script, request=unconfined).out == ""
