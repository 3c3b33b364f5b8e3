"""The warm process that every container is forked from: it accepts, checks the peer, and forks.

Started by the first client (``runtime.detach``) with a listening socket as descriptor 3. It runs
its interpreter from a detached read-only mount: what a container finds behind ``/proc/<pid>/exe``
of any process of ours cannot be opened for writing (CVE-2019-5736). Shims and containers do not
depend on it: it may die, and a new one takes over the socket. It retires after an idle time, or
when a client shows that the code on disk is newer.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from records import replace
from runtime import constants as k
from runtime import protocol, syscalls
from runtime.client import LOCK_NAME, SOCKET_NAME
from runtime.detach import LISTENER

if TYPE_CHECKING:
    from runtime.nursery import Desk
    from runtime.spare import Holdings
    from runtime.warm import Warm

_UCRED: Final = struct.Struct("3i")
_HANDSHAKE_SECONDS: Final = 10.0
_LIVES: Final = 256
"""Containers that one shim serves at most, one after the other."""


def main(arguments: list[str]) -> None:
    """Entry: run-time directory, fingerprint, idle seconds, socket's inode."""
    runtime_dir, fingerprint, idle, inode = arguments
    _listen(runtime_dir, fingerprint, float(idle), inode=int(inode))


class _Retire(Exception):
    """SIGTERM: stop accepting."""


def _retire(number: int, frame: object) -> None:
    raise _Retire


def _listen(runtime_dir: str, fingerprint: str, idle: float, *, inode: int) -> None:
    # Loaded before the forks, so that they share it.
    import runtime.config_json
    import runtime.shim
    import runtime.spec  # noqa: F401
    from runtime.capabilities import to_mask
    from runtime.cgroups import read_layout
    from runtime.defaults import CAPABILITIES
    from runtime.nursery import Nursery
    from runtime.process import held_capabilities
    from runtime.rehearsal import learn, warm_up
    from runtime.seccomp import compile_filter, default_profile
    from runtime.warm import Warm, heap_ranges

    syscalls.set_process_name("lading-launch")
    syscalls.prctl(k.PR_SET_DUMPABLE, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _retire)
    listener = socket.socket(fileno=LISTENER)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    fcntl.fcntl(LISTENER, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    status = os.stat("/proc/self/ns/mnt")
    default = compile_filter(default_profile(CAPABILITIES), os.uname().machine)
    cold = Warm(
        runtime_dir=runtime_dir,
        layout=read_layout(),
        held=held_capabilities(),
        filters={to_mask(CAPABILITIES): default},
        mount_namespace=(status.st_dev, status.st_ino),
    )
    warm_up(cold)
    gc.collect()
    gc.freeze()
    gc.disable()
    os.umask(0o022)
    warm = replace(cold, hot=learn(cold, heap_ranges()))
    nursery = Nursery(listener, warm, lambda desk: _live_as_shim(desk, warm, fingerprint))
    try:
        nursery.fill()
        nursery.sweep()
        while True:
            nursery.fill()
            while not nursery.attend(idle):
                if _leave(listener, runtime_dir, inode, unless_waiting=True):
                    return
    except _Retire:
        _leave(listener, runtime_dir, inode, unless_waiting=False)


def _live_as_shim(desk: Desk, warm: Warm, fingerprint: str) -> NoReturn:
    """The life of a shim: be ready, serve, be ready again."""
    from runtime import spare
    from runtime.rehearsal import written
    from runtime.warm import heap_ranges

    launcher = os.getppid()
    code = 1
    bridge: str | None = None
    holdings = spare.Holdings()
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        syscalls.set_process_name("lading-shim")
        hot = () if desk.someone_waits() else warm.hot
        for life in range(_LIVES):
            holdings = spare.prepare(warm, hot, state=holdings.state, bridge=bridge)
            connection = desk.accept()
            if connection is None:
                break
            with connection:
                again, bridge = _serve(connection, warm, holdings, fingerprint, launcher, desk)
            gc.collect()
            if not again or not desk.take_back():
                break
            if life == 0:
                hot = written(heap_ranges())
        holdings.clean_up()
        holdings.close()
        desk.leave()
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must never return into the launcher's loop
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _serve(
    connection: socket.socket,
    warm: Warm,
    holdings: Holdings,
    fingerprint: str,
    launcher: int,
    desk: Desk,
) -> tuple[bool, str | None]:
    """Check the peer, read its request, obey.

    Returns whether the shim may serve another one, and the bridge that this container was on.
    """
    from runtime.shim import serve

    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    if uid not in (0, os.geteuid()):
        return False, None
    connection.settimeout(_HANDSHAKE_SECONDS)
    received = protocol.Receiver(connection).receive()
    connection.settimeout(None)
    if received is None:
        return False, None
    message, fds = received
    if message["fingerprint"] != fingerprint or message["operation"] == "stop":
        os.kill(launcher, signal.SIGTERM)
        protocol.send(connection, {"event": "stale", "pid": launcher})
        return False, None
    protocol.send(connection, {"event": "accepted"})
    return serve(connection, message, fds, warm, holdings, desk.started)


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
