"""The warm process that every container is forked from: it accepts, checks the peer, and forks.

Started by the first client with a listening socket as descriptor 3. It runs its interpreter from a
detached read-only mount: what a container finds behind ``/proc/<pid>/exe`` of any process of ours
cannot be opened for writing (CVE-2019-5736). Shims and containers do not depend on it: it may die,
and a new one takes over the socket. It retires after an idle time, or when a client shows that the
code on disk is newer.
"""

from __future__ import annotations

import fcntl
import gc
import os
import platform
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from runtime import constants as k
from runtime import syscalls
from runtime.client import LOCK_NAME, SOCKET_NAME

if TYPE_CHECKING:
    from runtime import shim

LISTENER: Final = 3
_UCRED: Final = struct.Struct("3i")
_HANDSHAKE_SECONDS: Final = 10.0


def main(arguments: list[str]) -> None:
    """Entry: stage, run-time directory, fingerprint, idle seconds, program text, socket's inode."""
    stage, runtime_dir, fingerprint, idle, program = arguments[:5]
    if stage == "detach":
        _detach(arguments[1:], f"{runtime_dir}/{SOCKET_NAME}", program)
    _listen(runtime_dir, fingerprint, float(idle), inode=int(arguments[5]))


def _detach(arguments: list[str], path: str, program: str) -> NoReturn:
    """Leave the client's process tree and start over from the read-only mount.

    The client holds the lock until the first process ends, so the socket at ``path`` is surely
    ours.
    """
    inode = os.stat(path).st_ino
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    syscalls.close_range(LISTENER + 1, 0xFFFFFFFF, k.CLOSE_RANGE_CLOEXEC)
    interpreter = syscalls.open_tree(
        k.AT_FDCWD, os.path.realpath("/proc/self/exe"), k.OPEN_TREE_CLONE
    )
    syscalls.mount_setattr(interpreter, attr_set=k.MOUNT_ATTR_RDONLY)
    command = [sys.executable, "-I", "-S", "-c", program, "listen", *arguments, str(inode)]
    os.execv(f"/proc/self/fd/{interpreter}", command)


class _Retire(Exception):
    """SIGTERM: stop accepting."""


def _retire(number: int, frame: object) -> None:
    raise _Retire


def _listen(runtime_dir: str, fingerprint: str, idle: float, *, inode: int) -> None:
    from runtime import shim
    from runtime.cgroups import read_layout
    from runtime.defaults import CAPABILITIES
    from runtime.process import held_capabilities
    from runtime.seccomp import compile_filter, default_profile

    syscalls.set_process_name("lading-launch")
    syscalls.prctl(k.PR_SET_DUMPABLE, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _retire)
    listener = socket.socket(fileno=LISTENER)
    fcntl.fcntl(LISTENER, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    status = os.stat("/proc/self/ns/mnt")
    warm = shim.Warm(
        runtime_dir=runtime_dir,
        layout=read_layout(),
        held=held_capabilities(),
        filters={CAPABILITIES: compile_filter(default_profile(CAPABILITIES), platform.machine())},
        mount_namespace=(status.st_dev, status.st_ino),
    )
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        _accept_forever(listener, warm, fingerprint, idle, inode)
    except _Retire:
        _leave(listener, runtime_dir, inode, unless_waiting=False)


def _accept_forever(
    listener: socket.socket, warm: shim.Warm, fingerprint: str, idle: float, inode: int
) -> None:
    listener.settimeout(idle)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if _leave(listener, warm.runtime_dir, inode, unless_waiting=True):
                return
            continue
        except OSError:
            # Out of descriptors or memory for the moment; whoever holds them will let go.
            time.sleep(0.05)
            continue
        try:
            child = os.fork()
        except OSError:
            child = -1
        if child == 0:
            _serve(listener, connection, warm, fingerprint)
        connection.close()


def _leave(listener: socket.socket, runtime_dir: str, inode: int, *, unless_waiting: bool) -> bool:
    """Unlink the socket if it is still ours; False if a client has just come."""
    with open(f"{runtime_dir}/{LOCK_NAME}", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return not unless_waiting
        if unless_waiting and select.select([listener], [], [], 0)[0]:
            return False
        path = f"{runtime_dir}/{SOCKET_NAME}"
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == inode:
                os.unlink(path)
    return True


def _serve(
    listener: socket.socket, connection: socket.socket, warm: shim.Warm, fingerprint: str
) -> NoReturn:
    """The shim's first steps, in the fork."""
    from runtime import protocol, shim

    launcher = os.getppid()
    code = 1
    try:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        syscalls.set_process_name("lading-shim")
        _, uid, _ = _UCRED.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        connection.settimeout(_HANDSHAKE_SECONDS)
        if uid in (0, os.geteuid()):
            received = protocol.Receiver(connection).receive()
            connection.settimeout(None)
            if received is not None:
                message, fds = received
                if message["fingerprint"] != fingerprint or message["operation"] == "stop":
                    os.kill(launcher, signal.SIGTERM)
                    protocol.send(connection, {"event": "stale", "pid": launcher})
                else:
                    protocol.send(connection, {"event": "accepted"})
                    shim.serve(connection, message, fds, warm)
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must never return into the launcher's loop
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
