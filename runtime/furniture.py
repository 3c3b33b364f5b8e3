"""The standard mounts of a container, made before anybody asks for it.

/proc, /dev and /sys with everything on, in and over them are the same for nearly every container,
and they are most of the work. A first process that has no request yet makes them in a mount
namespace of its own, picks each tree up as a detached copy, and goes home. When the request comes,
it leaves for a new namespace, which has what the host mounted meanwhile, and puts them in place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from records import Record
from runtime import constants as k
from runtime.config import Spec
from runtime.errors import RuntimeFault
from runtime.kernel import Kernel
from runtime.operations import Operation, Stage, attach, new_filesystem
from runtime.rooted import NO_LINKS, ensure_directory, open_in_root, opened

FURNISHED: Final = ("/proc", "/dev", "/sys")


class Furniture(Record):
    """Detached trees by destination, and the procfs that only we write through."""

    standard: Spec
    """What they were made for."""
    proc: int
    trees: tuple[tuple[str, int], ...]


class Furnish(Record):
    """Put the furniture into the root."""

    furniture: Furniture
    terminal: bool = False

    def describe(self) -> str:
        """The step in one line."""
        return f"move {' '.join(path for path, _ in self.furniture.trees)} in, with their masks"

    def execute(self, stage: Stage) -> None:
        """Attach every tree; the image may have no symbolic link where it goes."""
        kernel = stage.kernel
        stage.proc = self.furniture.proc
        for destination, tree in self.furniture.trees:
            created = stage.record_for(destination)
            target = ensure_directory(
                kernel, stage.root, destination, created=created, resolve=NO_LINKS
            )
            kernel.close(target)
            attach(stage, tree, destination, directory=True)
            stage.mounts[destination] = tree
        if self.terminal:
            flags, resolve = os.O_PATH | os.O_DIRECTORY, k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
            pts = kernel.openat2(stage.mounts["/dev"], "pts", flags, resolve=resolve)
            stage.mounts["/dev/pts"] = pts


def make(
    kernel: Kernel, standard: Spec, operations: Sequence[Operation], place: str
) -> Furniture | None:
    """Carry out ``operations`` on an empty root at the directory ``place``, for the moment.

    None if this machine refuses one: then whoever comes will be told the reason. The process comes
    back to its mount namespace and root.
    """
    home = kernel.openat2(k.AT_FDCWD, "/proc/self/ns/mnt", os.O_RDONLY, resolve=0)
    root = kernel.openat2(k.AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY, resolve=0)
    with opened(kernel, home), opened(kernel, root):
        kernel.unshare(k.CLONE_NEWNS)
        try:
            return _make(kernel, standard, operations, place)
        except (OSError, RuntimeFault):
            return None
        finally:
            kernel.setns(home, k.CLONE_NEWNS)
            kernel.fchdir(root)
            kernel.chroot(".")


def _make(kernel: Kernel, standard: Spec, operations: Sequence[Operation], place: str) -> Furniture:
    kernel.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE, None)
    stage = Stage(kernel)
    flags = os.O_PATH | os.O_DIRECTORY
    stage.root = new_filesystem(kernel, "tmpfs", (("size", "4k"), ("mode", "700")), 0)
    with opened(kernel, kernel.openat2(k.AT_FDCWD, place, flags, resolve=0)) as target:
        kernel.move_mount(stage.root, target)
    with opened(kernel, stage.root):
        for operation in operations:
            operation.execute(stage)
        trees = []
        for path in FURNISHED:
            with opened(kernel, open_in_root(kernel, stage.root, path, resolve=NO_LINKS)) as top:
                clone = k.AT_EMPTY_PATH | k.OPEN_TREE_CLONE | k.AT_RECURSIVE
                trees.append((path, kernel.open_tree(top, "", clone)))
    for fd in stage.mounts.values():
        kernel.close(fd)
    return Furniture(standard, stage.proc, tuple(trees))
