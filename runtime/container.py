"""The container's first process, from fork to exec.

It speaks to the shim over one socket: ``rested`` when it is prepared for a request that is yet to
come, or ``namespaces`` when a network can be attached; ``ready`` when the sandbox stands, then it
waits for ``go`` unless the network was there before. A fault goes over the same socket; the end of
file without one means that exec succeeded, because the socket closes on exec.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
from typing import Any, Final, NoReturn

from records import Record
from runtime import constants as k
from runtime import protocol, syscalls
from runtime.birth import Birth, conceive, places_of
from runtime.cgroups import Group
from runtime.config import Spec
from runtime.errors import RuntimeFault, from_oserror
from runtime.furniture import Furniture, make
from runtime.operations import Operation, Stage, write_proc
from runtime.plan import CLONE_FLAGS, standard_mounts
from runtime.process import become, environment, execute, set_rlimits
from runtime.rooted import IN_ROOT, ensure_directory, opened, read_regular
from runtime.users import Identity, home_of, resolve
from runtime.warm import Warm

_ACCOUNT_FILE_LIMIT: Final = 8 << 20
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_EVERY_FD: Final = 0xFFFFFFFF
_EARLY: Final = k.CLONE_NEWUTS | k.CLONE_NEWIPC | k.CLONE_NEWNET


class Cradle(Record):
    """For a child that is forked before its request is known.

    It takes the namespaces that nearly every container wants, joins ``group``, makes the mounts of
    ``standard`` and copies the memory it will write to, while nobody waits for it.
    """

    standard: Spec
    group: Group
    state: str
    """The state directory, which may be renamed once the child has said ``prepared``."""


def be_born(channel: socket.socket, warm: Warm, cradle: Cradle | None) -> NoReturn:
    """Run in the forked child; never returns."""
    try:
        _live(channel, warm, cradle)
    except RuntimeFault as fault:
        _report(channel, fault)
    except OSError as error:
        _report(channel, from_oserror(error, "start the container"))
    except BaseException:  # noqa: BLE001 - the last frame of a forked process must report, not unwind
        import traceback

        _report(channel, RuntimeFault(f"internal error\n{traceback.format_exc()}"))
    os._exit(1)


def _report(channel: socket.socket, fault: RuntimeFault) -> None:
    try:
        protocol.send(channel, {"event": "fault", **fault.to_json()})
    except OSError:
        return


def _live(channel: socket.socket, warm: Warm, cradle: Cradle | None) -> NoReturn:
    _forget_parent(channel)
    syscalls.set_process_name("lading-embryo")
    os.umask(0)
    furniture = None if cradle is None else _rest(cradle, warm)
    if cradle is not None:
        protocol.send(channel, {"event": "rested"})
    receiver = protocol.Receiver(channel)
    birth, ready = _learn(receiver, warm, furniture)
    spec, process = birth.spec, birth.spec.process
    if cradle is None:
        birth.group.join()
    _enter_namespaces(spec, already=0 if cradle is None else _EARLY)
    if cradle is None:
        protocol.send(channel, {"event": "namespaces"})
    stage = Stage(syscalls)
    for operation in birth.operations:
        _perform(operation, stage)
    identity = _identify(birth, stage)
    _enter_directory(stage, process.cwd)
    _announce(birth, stage, channel)
    if not ready:
        _next(receiver)
    if process.oom_score_adj is not None:
        _adjust_oom_score(stage, process.oom_score_adj)
    set_rlimits(process.rlimits)
    _new_keyring()
    _wire_stdio(birth, stage, identity)
    os.umask(0o022 if process.user.umask is None else process.user.umask)
    syscalls.close_range(3, _EVERY_FD, k.CLOSE_RANGE_CLOEXEC)
    become(
        identity,
        birth.privileges,
        seccomp=birth.seccomp,
        no_new_privileges=process.no_new_privileges,
    )
    if birth.request.kill_on_disconnect:
        # Only now: changing the identity clears it. prctl(2), PR_SET_PDEATHSIG.
        syscalls.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
        _die_with_shim(channel)
    execute(process.args, environment(process, identity.home))


def _rest(cradle: Cradle, warm: Warm) -> Furniture | None:
    """What can be done without a request."""
    syscalls.unshare(_EARLY)
    _raise_loopback()
    syscalls.madvise_populate_write(warm.hot)
    cradle.group.join()
    operations = standard_mounts(cradle.standard, places_of(cradle.state, cradle.group))
    return make(syscalls, cradle.standard, operations, f"{cradle.state}/rootfs")


def _forget_parent(channel: socket.socket) -> None:
    """Keep nothing of the shim but the channel.

    Signals that Python, nohup(1) or whoever started the launcher ignored would stay ignored across
    exec.
    """
    syscalls.default_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    kept = channel.fileno()
    if kept > 3:
        syscalls.close_range(3, kept - 1, 0)
    syscalls.close_range(kept + 1, _EVERY_FD, 0)


def _learn(
    receiver: protocol.Receiver, warm: Warm, furniture: Furniture | None
) -> tuple[Birth, bool]:
    """Take the request, in the client's mount namespace, and then what the shim has prepared.

    The second value says that the shim has nothing more to do: no ``go`` will come.
    """
    message, fds = _next(receiver)
    stdin, stdout, stderr, namespace = fds
    status = os.fstat(namespace)
    if (status.st_dev, status.st_ino) != warm.mount_namespace:
        syscalls.setns(namespace, k.CLONE_NEWNS)
    os.close(namespace)
    spec = Spec.from_json(message["request"]["spec"])
    prepared, _ = _next(receiver)
    directories, links, version = prepared["group"]
    group = Group(
        tuple((name, path) for name, path in directories),
        tuple((name, target) for name, target in links),
        version,
    )
    birth = conceive(
        message,
        spec,
        warm,
        group=group,
        stubs=prepared["stubs"],
        stdio=(stdin, stdout, stderr),
        furniture=furniture,
    )
    return birth, prepared["go"]


def _next(receiver: protocol.Receiver) -> tuple[dict[str, Any], list[int]]:
    """The shim's next message; without a shim there is no reason to live."""
    received = receiver.receive()
    if received is None:
        os._exit(1)
    return received


def _die_with_shim(channel: socket.socket) -> None:
    """Close the gap between "go" and the death signal: a dead shim's channel is shut."""
    try:
        shut = not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    if shut:
        os._exit(1)


def _enter_namespaces(spec: Spec, *, already: int) -> None:
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
    flags = (flags | k.CLONE_NEWNS) & ~already
    syscalls.unshare(flags)
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
    terminal = [stage.terminal[0]] if stage.terminal is not None else []
    # Our own procfs hangs nowhere, so its last descriptor unmounts it, which waits for the kernel.
    # On exec that would hold up the program; the shim has time for it in the end.
    proc = [stage.proc] if stage.proc >= 0 else []
    protocol.send(channel, {"event": "ready", "created": created}, [*terminal, *proc])


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
