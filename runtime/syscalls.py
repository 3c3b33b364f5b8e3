"""Every kernel call of this package, under its man-page name; a leaf that decides nothing.

A call that fails raises ``OSError`` with the kernel's errno and the path it was about. ``argtypes``
are set once, per call. The module itself satisfies ``runtime.kernel.Kernel``; tests put a recorder
in its place. Numbers below 424 differ by architecture; from 424 on all architectures share one
table.
"""

from __future__ import annotations

import ctypes
import errno as _errno
import os
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_long,
    c_uint,
    c_uint16,
    c_uint32,
    c_uint64,
    c_ulong,
    c_void_p,
)

from runtime import constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Final

_MACHINE: Final = os.uname().machine
_NUMBERS: Final[dict[str, tuple[int, int]]] = {
    "rt_sigaction": (13, 134),
    "capget": (125, 90),
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "keyctl": (250, 219),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "close_range": (436, 436),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "mount_setattr": (442, 442),
}
_libc: Final = ctypes.CDLL(None, use_errno=True)


class open_how(Structure):
    """openat2(2)."""

    _fields_ = (("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64))


class clone_args(Structure):
    """clone3(2), the version that knows ``cgroup``."""

    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


class mount_attr(Structure):
    """mount_setattr(2)."""

    _fields_ = (
        ("attr_set", c_uint64),
        ("attr_clr", c_uint64),
        ("propagation", c_uint64),
        ("userns_fd", c_uint64),
    )


class cap_user_header(Structure):
    """capset(2)."""

    _fields_ = (("version", c_uint32), ("pid", c_int))


class cap_user_data(Structure):
    """capset(2); version 3 takes two of these, low words first."""

    _fields_ = (("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32))


class sock_fprog(Structure):
    """seccomp(2)."""

    _fields_ = (("len", c_uint16), ("filter", c_char_p))


class statfs_buf(Structure):
    """statfs(2) of the 64-bit architectures; only the type is read."""

    _fields_ = (("f_type", c_long), ("rest", c_long * 16))


def _by_name(name: str, *argtypes: Any) -> Callable[..., int]:
    function = _libc[name]
    function.argtypes = list(argtypes)
    function.restype = c_int
    return function


def _by_number(name: str, *argtypes: Any) -> Callable[..., int]:
    number = _NUMBERS[name][1 if _MACHINE == "aarch64" else 0]
    function = _libc["syscall"]
    function.argtypes = [c_long, *argtypes]
    function.restype = c_long
    return lambda *arguments: function(number, *arguments)


_CLONE3: Final = _NUMBERS["clone3"][0]
# Without releasing the interpreter's lock: nobody could hand it back in the child.
_clone3 = ctypes.PyDLL(None, use_errno=True)["syscall"]
_clone3.argtypes = [c_long, POINTER(clone_args), c_ulong]
_clone3.restype = c_long
_unshare = _by_name("unshare", c_int)
_setns = _by_name("setns", c_int, c_int)
_mount = _by_name("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = _by_name("umount2", c_char_p, c_int)
_prctl = _by_name("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_fstatfs = _by_name("fstatfs", c_int, POINTER(statfs_buf))
_sethostname = _by_name("sethostname", c_char_p, c_ulong)
_setdomainname = _by_name("setdomainname", c_char_p, c_ulong)
_madvise = _by_name("madvise", c_void_p, c_ulong, c_int)
_rt_sigaction = _by_number("rt_sigaction", c_int, c_char_p, c_void_p, c_ulong)
_pivot_root = _by_number("pivot_root", c_char_p, c_char_p)
_capset = _by_number("capset", POINTER(cap_user_header), POINTER(cap_user_data))
_keyctl = _by_number("keyctl", c_int, c_char_p)
_seccomp = _by_number("seccomp", c_uint, c_uint, POINTER(sock_fprog))
_bpf = _by_number("bpf", c_int, c_void_p, c_uint)
_open_tree = _by_number("open_tree", c_int, c_char_p, c_uint)
_move_mount = _by_number("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = _by_number("fsopen", c_char_p, c_uint)
_fsconfig = _by_number("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = _by_number("fsmount", c_int, c_uint, c_uint)
_close_range = _by_number("close_range", c_uint, c_uint, c_uint)
_openat2 = _by_number("openat2", c_int, c_char_p, POINTER(open_how), c_ulong)
_mount_setattr = _by_number("mount_setattr", c_int, c_char_p, c_uint, POINTER(mount_attr), c_ulong)


def _check(result: int, filename: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), filename)
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_unshare(flags), "unshare")


def clone3(flags: int, *, cgroup: int | None = None) -> tuple[int, int]:
    """clone3(2) as a fork: (pid, pidfd) in the parent, (0, -1) in the child.

    ``cgroup`` is a descriptor of the cgroup v2 directory that the child is born in, which saves the
    grace period that a later move waits for. The process must have a single thread.
    """
    pidfd = c_int(-1)
    arguments = clone_args(flags | k.CLONE_PIDFD, ctypes.addressof(pidfd))
    arguments.exit_signal = k.SIGCHLD
    if cgroup is not None:
        arguments.flags |= k.CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    # The interpreter's own fork hooks, C API "Operating System Utilities".
    ctypes.pythonapi.PyOS_BeforeFork()
    result = _clone3(_CLONE3, byref(arguments), ctypes.sizeof(arguments))
    number = ctypes.get_errno()
    if result == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if result < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return result, pidfd.value


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    _check(_setns(fd, nstype), "setns")


def mount(
    source: str | None, target: str, fstype: str | None, flags: int, data: str | None
) -> None:
    """mount(2); for propagation changes and kernels without fsopen parameters only."""
    encoded = [None if part is None else os.fsencode(part) for part in (source, fstype, data)]
    _check(_mount(encoded[0], os.fsencode(target), encoded[1], flags, encoded[2]), target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _check(_umount2(os.fsencode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_pivot_root(os.fsencode(new_root), os.fsencode(put_old)), new_root)


def fsopen(fstype: str) -> int:
    """fsopen(2): a configuration context for a new instance of ``fstype``."""
    return _check(_fsopen(fstype.encode(), k.FSOPEN_CLOEXEC), fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2) FSCONFIG_SET_STRING; the kernel takes at most 255 bytes."""
    _check(_fsconfig(fd, k.FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0), key)


def fsconfig_flag(fd: int, key: str) -> None:
    """fsconfig(2) FSCONFIG_SET_FLAG."""
    _check(_fsconfig(fd, k.FSCONFIG_SET_FLAG, key.encode(), None, 0), key)


def fsconfig_create(fd: int) -> None:
    """fsconfig(2) FSCONFIG_CMD_CREATE; the context's own log, if any, is joined to the error."""
    try:
        _check(_fsconfig(fd, k.FSCONFIG_CMD_CREATE, None, None, 0))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}{_log(fd)}") from None


def _log(fd: int) -> str:
    messages = []
    try:
        while line := os.read(fd, 4096):
            messages.append(line.decode(errors="replace").strip())
    except OSError as error:
        if error.errno not in (_errno.ENODATA, _errno.EINVAL):
            raise
    return f" ({'; '.join(messages)})" if messages else ""


def fsmount(fd: int, attributes: int) -> int:
    """fsmount(2): a detached mount with MOUNT_ATTR_* ``attributes``."""
    return _check(_fsmount(fd, k.FSMOUNT_CLOEXEC, attributes), "fsmount")


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """open_tree(2)."""
    return _check(_open_tree(dirfd, os.fsencode(path), flags | k.OPEN_TREE_CLOEXEC), path)


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2) of the mount ``from_fd`` onto the very object ``to_fd``, without a path."""
    flags = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
    _check(_move_mount(from_fd, b"", to_fd, b"", flags), "move_mount")


def mount_setattr(
    fd: int, *, attr_set: int, attr_clr: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount that ``fd`` is the root of."""
    attributes = mount_attr(attr_set, attr_clr, propagation, 0)
    flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    _check(
        _mount_setattr(fd, b"", flags, byref(attributes), ctypes.sizeof(attributes)),
        "mount_setattr",
    )


def openat2(dirfd: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> int:
    """openat2(2), always close-on-exec; EAGAIN, which a racing rename causes, is tried again."""
    how = open_how(flags | os.O_CLOEXEC, mode, resolve)
    encoded = os.fsencode(path)
    for _ in range(64):
        result = _openat2(dirfd, encoded, byref(how), ctypes.sizeof(how))
        if result >= 0 or ctypes.get_errno() not in (_errno.EAGAIN, _errno.EINTR):
            break
    return _check(result, path)


def fd_path(fd: int) -> str:
    """Where ``fd`` lies in this mount namespace; proc(5), ``/proc/self/fd``."""
    return os.readlink(f"/proc/self/fd/{fd}")


def fstatfs_type(fd: int) -> int:
    """fstatfs(2): the magic number of the file system that ``fd`` lies on."""
    buffer = statfs_buf()
    _check(_fstatfs(fd, byref(buffer)), "fstatfs")
    return int(buffer.f_type) & 0xFFFFFFFF


def default_signals() -> None:
    """rt_sigaction(2): SIG_DFL for every signal, the C library's own ones too.

    posix_spawn(3) of glibc leaves those ignored, and Python cannot name them.
    """
    for number in range(1, k.SIGNALS + 1):
        if number not in (k.SIGKILL, k.SIGSTOP):
            _check(_rt_sigaction(number, k.DEFAULT_ACTION, None, 8), "rt_sigaction")


def prctl(option: int, argument2: int = 0, argument3: int = 0) -> int:
    """prctl(2) with at most three arguments; the unused ones are zero as newer options demand."""
    return _check(_prctl(option, argument2, argument3, 0, 0), "prctl")


def set_process_name(name: str) -> None:
    """prctl(2) PR_SET_NAME; the kernel keeps 15 bytes."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15])
    prctl(k.PR_SET_NAME, ctypes.addressof(buffer))


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the calling process, version 3."""
    header = cap_user_header(k.LINUX_CAPABILITY_VERSION_3, 0)
    data = (cap_user_data * 2)(
        cap_user_data(effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF),
        cap_user_data(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    _check(_capset(byref(header), data), "capset")


def seccomp_set_filter(program: bytes) -> None:
    """seccomp(2) SECCOMP_SET_MODE_FILTER with ``program``, an array of struct sock_filter."""
    prog = sock_fprog(len(program) // 8, program)
    _check(_seccomp(k.SECCOMP_SET_MODE_FILTER, 0, byref(prog)), "seccomp")


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2) with a packed ``union bpf_attr``."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _check(_bpf(command, ctypes.addressof(buffer), len(attributes)), "bpf")


def close_range(first: int, last: int, flags: int) -> None:
    """close_range(2)."""
    _check(_close_range(first, last, flags), "close_range")


def join_session_keyring() -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: leave the caller's keyring for a new anonymous one."""
    _check(_keyctl(k.KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")


def madvise_populate_write(ranges: Iterable[tuple[int, int]]) -> None:
    """madvise(2) MADV_POPULATE_WRITE over (address, length) ranges: copy what forks share.

    A fault per page costs four times as much. Kernels before 5.14 do not know it; then faults it
    is.
    """
    for address, length in ranges:
        _madvise(address, length, k.MADV_POPULATE_WRITE)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _check(_sethostname(encoded, len(encoded)), name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = name.encode()
    _check(_setdomainname(encoded, len(encoded)), name)


def mkdirat(dirfd: int, name: str, mode: int) -> None:
    """mkdirat(2)."""
    os.mkdir(name, mode, dir_fd=dirfd)


def mknodat(dirfd: int, name: str, mode: int, device: int) -> None:
    """mknodat(2); ``mode`` carries the file type."""
    os.mknod(name, mode, device, dir_fd=dirfd)


def symlinkat(target: str, dirfd: int, name: str) -> None:
    """symlinkat(2)."""
    os.symlink(target, name, dir_fd=dirfd)


def fchown(fd: int, uid: int, gid: int) -> None:
    """fchown(2)."""
    os.fchown(fd, uid, gid)


def fchmod(fd: int, mode: int) -> None:
    """fchmod(2)."""
    os.fchmod(fd, mode)


def fstat(fd: int) -> os.stat_result:
    """fstat(2)."""
    return os.fstat(fd)


def write(fd: int, data: bytes) -> int:
    """write(2)."""
    return os.write(fd, data)


def read(fd: int, length: int) -> bytes:
    """read(2)."""
    return os.read(fd, length)


def close(fd: int) -> None:
    """close(2)."""
    os.close(fd)


def fchdir(fd: int) -> None:
    """fchdir(2)."""
    os.fchdir(fd)


def chroot(path: str) -> None:
    """chroot(2)."""
    os.chroot(path)


def setgroups(groups: Sequence[int]) -> None:
    """setgroups(2)."""
    os.setgroups(groups)
