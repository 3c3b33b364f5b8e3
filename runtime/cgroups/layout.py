"""Where this machine's control group hierarchies are mounted."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

from records import Record

_V1_CONTROLLERS: Final = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)


class Hierarchy(Record):
    """One cgroup v1 mount; ``name`` is its folder's name below /sys/fs/cgroup."""

    name: str
    path: str
    controllers: tuple[str, ...]


class Layout(Record):
    """All hierarchies; ``unified`` is the cgroup2 mount, if any."""

    hierarchies: tuple[Hierarchy, ...] = ()
    unified: str | None = None

    @property
    def version(self) -> int:
        """2 where cgroup2 is the only hierarchy, 1 otherwise; 0 without any."""
        if self.hierarchies:
            return 1
        return 0 if self.unified is None else 2


def read_layout(mountinfo: Iterable[str] | None = None) -> Layout:
    """Parse ``/proc/self/mountinfo`` lines; the first mount of a hierarchy counts (proc(5))."""
    if mountinfo is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return read_layout(file.readlines())
    hierarchies: dict[tuple[str, ...], Hierarchy] = {}
    unified: str | None = None
    for line in mountinfo:
        head, separator, tail = line.partition(" - ")
        if not separator or not tail.startswith("cgroup"):
            continue
        path = head.split(" ")[4]
        fstype, _, options = tail.rstrip("\n").split(" ", 2)
        if fstype == "cgroup2":
            unified = unified or path
        elif fstype == "cgroup":
            words = options.split(",")
            controllers = tuple(word for word in words if word in _V1_CONTROLLERS)
            key = controllers or tuple(word for word in words if word.startswith("name="))
            name = posixpath.basename(path)
            hierarchies.setdefault(key, Hierarchy(name, path, controllers))
    return Layout(tuple(hierarchies.values()), unified)
