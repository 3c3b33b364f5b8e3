"""Names of processes that no other one has, neither before nor after nor elsewhere.

Whoever finds such a name can tell that its process has ended, where process ids mean the same to
both: on one machine, since one boot, in one namespace of them.
"""

from __future__ import annotations

import os
from pathlib import Path


def process_name() -> str:
    """The name of this process."""
    return _named(os.getpid())


def has_ended(name: str) -> bool | None:
    """Whether the process of that name has ended; None where this cannot be known."""
    machine, _, rest = name.partition(":")
    if machine != _machine():
        return None
    try:
        return name != _named(int(rest.partition(":")[0]))
    except (FileNotFoundError, ProcessLookupError):
        return True


def _named(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name in parentheses may hold anything; field 22 is when it started (proc_pid_stat(5)).
    started = stat.rpartition(")")[2].split()[19]
    return f"{_machine()}:{pid}:{started}"


def _machine() -> str:
    """Where process ids mean the same: this boot, and this namespace of them."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
