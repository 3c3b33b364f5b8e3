"""Which memory a start writes to, learnt once by going through the motions in a throw-away fork.

A fork shares its memory page by page until somebody writes, and in CPython even reading an object
writes its reference count. One fault costs some 6 µs, a start takes hundreds. Knowing the pages, a
spare has them copied in one go (madvise(2), MADV_POPULATE_WRITE) while nobody waits for it.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from typing import Any, Final, cast

from runtime.birth import conceive
from runtime.cgroups import Group
from runtime.config import Spec
from runtime.kernel import Kernel
from runtime.operations import Stage
from runtime.plan import mount_points
from runtime.request import ContainerRequest, Rootfs
from runtime.spec import default_spec
from runtime.users import resolve
from runtime.warm import Warm

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PRESENT: Final = 1 << 63
_EXCLUSIVE: Final = 1 << 56
_GAP: Final = 2
"""Pages between two written ones that are copied along, because a call costs as much."""

_ROUNDS: Final = 2
"""The first loads what is loaded on demand and fills caches: a quarter of all pages. Until CPython
has specialised everything it takes twenty, which spare a fork half a millisecond and cost the first
client fifty.
"""

Ranges = tuple[tuple[int, int], ...]


class _Pretence:
    """A kernel that agrees to everything and does nothing; each answer is a new descriptor."""

    def __init__(self) -> None:
        self._descriptors = itertools.count(100)

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_options: next(self._descriptors)

    def fstat(self, fd: int) -> os.stat_result:
        """A directory of its own for every descriptor."""
        return os.stat_result((0o40755, fd, 1, 1, 0, 0, 0, 0, 0, 0))

    def fd_path(self, fd: int) -> str:
        """Anywhere."""
        return "/rehearsal"


def warm_up(warm: Warm) -> None:
    """Go through the motions in this process, so that not every fork loads and specialises the same
    code again, and copies each page of it that it rewrites (PEP 659).
    """
    for _ in range(_ROUNDS):
        _rehearse(warm)


def learn(warm: Warm, memory: Ranges) -> Ranges:
    """The parts of ``memory`` that a start writes to, as (address, length).

    Everything, should the rehearsal fail: that costs time, never correctness.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _rehearse(warm)
            os.write(writer, json.dumps(written(memory)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    return tuple((first, length) for first, length in json.loads(answer)) if answer else memory


def _rehearse(warm: Warm) -> None:
    """What shim and first process do between request and exec, as far as it can be pretended."""
    document = default_spec(["true"], hostname="rehearsal").to_json()
    request = ContainerRequest("rehearsal", document, Rootfs(lower=("/",)))
    wire = json.loads(json.dumps(request.to_json()))
    request = ContainerRequest.from_json(wire)
    spec = Spec.from_json(wire["spec"])
    mount_points(spec, directories={}, etc_files=request.etc_names(), secrets=())
    message = {"request": wire, "terminal": False}
    group = Group((("pids", "/pids"),))
    birth = conceive(message, spec, warm, group=group, stubs=None, stdio=(0, 1, 2))
    stage = Stage(cast("Kernel", _Pretence()))
    for operation in birth.operations:
        operation.describe()
        operation.execute(stage)
    resolve("1:2", b"root:x:0:0:root:/root:/bin/sh\n", b"root:x:0:\n")


def written(memory: Ranges) -> Ranges:
    """Ranges of pages that only this process maps (proc(5), pagemap), nearby ones joined."""
    ranges: list[list[int]] = []
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for first, length in memory:
            mapping: list[list[int]] = []
            pagemap.seek(first // _PAGE * 8)
            entries = pagemap.read(length // _PAGE * 8)
            for index, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
                if entry & _PRESENT and entry & _EXCLUSIVE:
                    _append(mapping, first + index * _PAGE)
            ranges += mapping
    return tuple((first, length) for first, length in ranges)


def _append(ranges: list[list[int]], address: int) -> None:
    if ranges:
        first, length = ranges[-1]
        if first < address <= first + length + _GAP * _PAGE:
            ranges[-1][1] = address + _PAGE - first
            return
    ranges.append([address, _PAGE])
