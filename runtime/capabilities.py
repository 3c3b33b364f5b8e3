"""Capability names and numbers (linux/capability.h); the number is the place in the tuple."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NAMES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)


def to_mask(names: Iterable[str]) -> int:
    """The bit set of ``CAP_*`` names; names this kernel interface does not know are left out."""
    mask = 0
    for name in names:
        if name in NAMES:
            mask |= 1 << NAMES.index(name)
    return mask


def from_mask(mask: int) -> tuple[str, ...]:
    """The names of the bits that are set, in kernel order."""
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)


def select(add: Iterable[str], drop: Iterable[str], default: Iterable[str]) -> tuple[str, ...]:
    """Docker's ``--cap-add`` and ``--cap-drop``; ``ALL`` and names without ``CAP_`` are fine.

    Raises:
        ValueError: a name is not a capability.
    """
    added, dropped = _normalise(add), _normalise(drop)
    if "ALL" in added:
        chosen = set(NAMES)
    elif "ALL" in dropped:
        chosen = set()
    else:
        chosen = set(default)
    if "ALL" not in added:
        chosen |= added
    chosen -= dropped
    return tuple(name for name in NAMES if name in chosen)


def _normalise(names: Iterable[str]) -> set[str]:
    normal: set[str] = set()
    for name in names:
        upper = name.upper()
        if upper != "ALL" and not upper.startswith("CAP_"):
            upper = f"CAP_{upper}"
        if upper != "ALL" and upper not in NAMES:
            raise ValueError(f"unknown capability {name!r}")
        normal.add(upper)
    return normal
