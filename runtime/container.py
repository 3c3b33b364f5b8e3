"""The container's first process, from fork to exec.

It speaks to the shim over one socket: ``namespaces`` when a network can be attached, ``ready`` when
the sandbox stands, then it waits for ``go``. A fault goes over the same socket; the end of file
without one means that exec succeeded, because the socket closes on exec.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from runtime import constants as k
from runtime import protocol, syscalls
from runtime.cgroups import Group
from runtime.config import Spec
from runtime.errors import RuntimeFault, from_oserror
from runtime.operations import Operation, Stage, write_proc
from runtime.plan import CLONE_FLAGS
from runtime.process import (
    Privileges,
    become,
    environment,
    execute,
    set_rlimits,
)
from runtime.request import ContainerRequest
from runtime.rooted import IN_ROOT, ensure_directory, opened, read_regular
from runtime.users import Identity, home_of, resolve

_ACCOUNT_FILE_LIMIT: Final = 8 << 20
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Birth:
    """Everything the first process needs, decided before the fork."""

    request: ContainerRequest
    spec: Spec
    operations: Sequence[Operation]
    mountpoint: str
    group: Group
    privileges: Privileges
    seccomp: bytes | None
    stdio: tuple[int, int, int]
    terminal: bool


def be_born(birth: Birth, channel: socket.socket) -> NoReturn:
    """Run in the forked child; never returns."""
    try:
        _live(birth, channel)
    except RuntimeFault as fault:
        _report(channel, fault)
    except OSError as error:
        _report(channel, from_oserror(error, "start the container"))
    except BaseException:  # noqa: BLE001 - the last frame of a forked process must report, not unwind
        _report(channel, RuntimeFault(f"internal error\n{traceback.format_exc()}"))
    os._exit(1)


def _report(channel: socket.socket, fault: RuntimeFault) -> None:
    try:
        protocol.send(channel, {"event": "fault", **fault.to_json()})
    except OSError:
        return


def _live(birth: Birth, channel: socket.socket) -> NoReturn:
    spec, process = birth.spec, birth.spec.process
    _forget_parent()
    birth.group.join()
    _enter_namespaces(spec)
    protocol.send(channel, {"event": "namespaces"})
    stage = Stage(syscalls)
    os.umask(0)
    for operation in birth.operations:
        _perform(operation, stage)
    identity = _identify(birth, stage)
    _enter_directory(stage, process.cwd)
    _announce(birth, stage, channel)
    _await_go(channel)
    if process.oom_score_adj is not None:
        _adjust_oom_score(stage, process.oom_score_adj)
    set_rlimits(process.rlimits)
    _new_keyring()
    _wire_stdio(birth, stage, identity)
    os.umask(0o022 if process.user.umask is None else process.user.umask)
    syscalls.close_range(3, 0xFFFFFFFF, k.CLOSE_RANGE_CLOEXEC)
    become(
        identity,
        birth.privileges,
        seccomp=birth.seccomp,
        no_new_privileges=process.no_new_privileges,
    )
    if birth.request.kill_on_disconnect:
        # Only now: changing the identity clears it. prctl(2), PR_SET_PDEATHSIG.
        syscalls.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
    execute(process.args, environment(process, identity.home))


def _forget_parent() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and ignored signals stay ignored across exec."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()


def _enter_namespaces(spec: Spec) -> None:
    flags = 0
    for namespace in spec.linux.namespaces:
        kind = CLONE_FLAGS.get(namespace.type)
        if kind is None:
            raise RuntimeFault(
                f"{namespace.type} namespaces are not supported", code="request-invalid"
            )
        if namespace.type == "pid":
            continue
        if namespace.path is None:
            flags |= kind
        else:
            handle = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            with opened(syscalls, handle):
                syscalls.setns(handle, kind)
    syscalls.unshare(flags | k.CLONE_NEWNS)
    if flags & k.CLONE_NEWNET:
        _raise_loopback()


def _raise_loopback() -> None:
    """netdevice(7): set IFF_UP on ``lo``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("H", answer, 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _perform(operation: Operation, stage: Stage) -> None:
    try:
        operation.execute(stage)
    except OSError as error:
        raise from_oserror(error, operation.describe()) from error


def _identify(birth: Birth, stage: Stage) -> Identity:
    """Who to be; the account files are read after the pivot, so the root is ``/`` for them too."""
    request, user = birth.request, birth.spec.process.user

    def account_file(name: str) -> bytes | None:
        return read_regular(syscalls, stage.root, f"/etc/{name}", limit=_ACCOUNT_FILE_LIMIT)

    passwd = account_file("passwd")
    if request.user is not None or request.group_add:
        text = f"{user.uid}:{user.gid}" if request.user is None else request.user
        needs_groups = bool(request.group_add) or text not in ("", "0", "root") or passwd
        group = account_file("group") if needs_groups else None
        return resolve(text, passwd, group, extra_groups=request.group_add)
    groups = (user.gid, *user.additional_gids)
    return Identity(user.uid, user.gid, tuple(dict.fromkeys(groups)), home_of(user.uid, passwd))


def _enter_directory(stage: Stage, cwd: str) -> None:
    """Make ``cwd`` if it is missing, enter it, and make sure it is inside (CVE-2024-21626)."""
    try:
        handle = ensure_directory(syscalls, stage.root, cwd, resolve=IN_ROOT)
    except RuntimeFault as fault:
        raise RuntimeFault(
            f"cannot enter the working directory {cwd}: {fault.what}",
            code="request-invalid",
            errno=fault.errno,
        ) from fault
    with opened(syscalls, handle):
        syscalls.fchdir(handle)
    try:
        outside = not os.getcwd().startswith("/")
    except OSError:
        outside = True
    if outside:
        raise RuntimeFault(
            f"the working directory {cwd} is outside the container's root", code="request-invalid"
        )


def _announce(birth: Birth, stage: Stage, channel: socket.socket) -> None:
    created = [path.removeprefix(birth.mountpoint).lstrip("/") for path in stage.created]
    fds = [stage.terminal[0]] if stage.terminal is not None else []
    protocol.send(channel, {"event": "ready", "created": created}, fds)


def _await_go(channel: socket.socket) -> None:
    if protocol.Receiver(channel).receive() is None:
        os._exit(1)


def _adjust_oom_score(stage: Stage, value: int) -> None:
    try:
        write_proc(stage, f"{os.getpid()}/oom_score_adj", str(value).encode())
    except PermissionError as error:
        raise RuntimeFault(
            f"cannot set oom_score_adj to {value}: lowering it needs CAP_SYS_RESOURCE",
            errno=error.errno,
        ) from error


def _new_keyring() -> None:
    try:
        syscalls.join_session_keyring()
    except OSError as error:
        # Kernels without keyrings, and outer containers that forbid keyctl, have none to share.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def _wire_stdio(birth: Birth, stage: Stage, identity: Identity) -> None:
    if stage.terminal is None:
        for target, source in enumerate(birth.stdio):
            os.dup2(source, target, inheritable=True)
        return
    slave = stage.terminal[1]
    syscalls.fchown(slave, identity.uid, -1)
    fcntl.ioctl(slave, k.TIOCSCTTY, 0)
    for target in range(3):
        os.dup2(slave, target, inheritable=True)


__all__ = ["Birth", "be_born"]
