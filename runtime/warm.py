"""What the launcher works out once for all its shims and their containers."""

from __future__ import annotations

import os
from collections.abc import Collection

from records import Record
from runtime.capabilities import to_mask
from runtime.cgroups import Layout
from runtime.seccomp import compile_filter, default_profile


class Warm(Record):
    """Facts that do not change while the launcher lives."""

    runtime_dir: str
    layout: Layout
    held: int
    """Mask of the capabilities that we could hand out."""
    filters: dict[int, bytes]
    """Compiled default seccomp filters, by mask of the effective capabilities."""
    mount_namespace: tuple[int, int]
    """Device and inode of the launcher's own."""
    hot: tuple[tuple[int, int], ...] = ()
    """Address and length of the memory that every start writes to."""

    def default_filter(self, capabilities: Collection[str]) -> bytes:
        """Docker's filter for a process with these capabilities."""
        ready = self.filters.get(to_mask(capabilities))
        return ready or compile_filter(default_profile(capabilities), os.uname().machine)


def heap_ranges() -> tuple[tuple[int, int], ...]:
    """The private writable mappings of this process, without its stack (proc(5), maps)."""
    ranges = []
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            span, mode, *rest = line.split()
            if mode.startswith("rw") and mode.endswith("p") and "[stack]" not in rest:
                first, last = (int(address, 16) for address in span.split("-"))
                ranges.append((first, last - first))
    return tuple(ranges)
