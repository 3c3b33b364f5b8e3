"""What a shim that was killed leaves behind, and how the next launcher takes it away.

While a container lives, its state directory holds a file ``remains`` that names what is not in that
directory: control groups, mount-point stubs, the mark of a volatile overlay. It is written before
they are made, in one write with a last line of its own: what follows that is of a longer list, left
by a shim that was killed before it could cut off the end. Mounts, namespaces and links go by
themselves with the last process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile
from typing import Final

from runtime.cgroups import UNIFIED, Group, Layout
from runtime.state import clear_volatile, remove_tree, write_file

_FILE: Final = "remains"
_END: Final = "end"


def note(state: str, *, groups: Iterable[str] = (), stubs: str = "", work: str = "") -> None:
    """Write down, in the directory ``state``, what is about to be made: ``groups`` are control
    group paths such as ``lading/<id>``.
    """
    lines = [f"group {path}" for path in groups]
    lines += [f"{kind} {path}" for kind, path in (("stubs", stubs), ("work", work)) if path]
    write_file(f"{state}/{_FILE}", "".join(f"{line}\n" for line in (*lines, _END)))


def sweep(runtime_dir: str, layout: Layout) -> int:
    """Clear the remains of every dead shim below ``runtime_dir``; returns how many there were.

    A container whose shim is dead is killed: nobody would learn how it ends.
    """
    top = f"{runtime_dir}/containers"
    try:
        names = os.listdir(top)
    except FileNotFoundError:
        return 0
    return sum(clear(f"{top}/{name}", layout) for name in names)


def clear(state: str, layout: Layout) -> bool:
    """Clear one state directory and what it names, unless its shim lives; says whether it did."""
    try:
        lock = os.open(f"{state}/lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        # Not locked yet, or gone: somebody is at work on it.
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for kind, path in _read(f"{state}/{_FILE}"):
            with suppress(OSError):
                _remove(kind, path, layout)
        remove_tree(state)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _read(path: str) -> list[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError:
        return []
    known = takewhile(lambda line: line != _END, lines)
    return [(kind, value) for kind, _, value in (line.partition(" ") for line in known)]


def _remove(kind: str, path: str, layout: Layout) -> None:
    if kind == "group":
        mounts = [(hierarchy.name, hierarchy.path) for hierarchy in layout.hierarchies]
        if layout.version == 2 and layout.unified is not None:
            mounts.append((UNIFIED, layout.unified))
        directories = tuple((name, f"{mount}/{path}") for name, mount in mounts)
        Group(directories, version=layout.version).remove()
    elif kind == "stubs":
        remove_tree(path)
    elif kind == "work":
        clear_volatile(path)
