"""The launcher's first process: leaves the client's tree and starts over from a read-only mount.

A client waits for it with the processor that it has, so it loads nothing but kernel calls; what
containers need is the launcher's to load (``runtime.launcher``).
"""

from __future__ import annotations

import os
import sys

from runtime import constants as k
from runtime import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

LISTENER: Final = 3
"""The descriptor of the listening socket, here and in the launcher."""


def main(arguments: list[str]) -> NoReturn:
    """Entry: socket's path, program text of the launcher, arguments of that.

    The launcher gets the socket's inode besides. The client holds the lock until this process ends,
    so the socket at that path is surely ours.
    """
    path, program, *others = arguments
    inode = os.stat(path).st_ino
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # What one client prefers is not what the containers of all others should get.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, 0)
    syscalls.close_range(LISTENER + 1, 0xFFFFFFFF, k.CLOSE_RANGE_CLOEXEC)
    interpreter = syscalls.open_tree(
        k.AT_FDCWD, os.path.realpath("/proc/self/exe"), k.OPEN_TREE_CLONE
    )
    syscalls.mount_setattr(interpreter, attr_set=k.MOUNT_ATTR_RDONLY)
    command = [sys.executable, "-I", "-S", "-c", program, *others, str(inode)]
    os.execv(f"/proc/self/fd/{interpreter}", command)
