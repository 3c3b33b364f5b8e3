"""A container's directory below the run-time directory, and the mount-point stubs that go with it.

``containers/<id>/`` holds ``lock`` (held by the shim for its life), the mount point ``rootfs``,
``scratch`` and the three files that are bound into /etc. Whoever finds the lock free finds the
remains of a dead shim and may clear them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime import constants as k
from runtime import syscalls
from runtime.errors import RuntimeFault
from runtime.request import Rootfs
from runtime.rooted import opened


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """An owned directory; ``lock`` is the descriptor that says so."""

    path: str
    lock: int

    def remove(self) -> None:
        """Delete the directory, then let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def claim(runtime_dir: str, identifier: str, *, scratch: int) -> StateDirectory:
    """Make ``containers/<identifier>`` ours, with ``scratch`` numbered directories.

    Raises:
        RuntimeFault: ``busy``; a live container has this id.
    """
    path = f"{runtime_dir}/containers/{identifier}"
    os.makedirs(path, mode=0o700, exist_ok=True)
    lock = os.open(f"{path}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise RuntimeFault(
            f"a container with the id {identifier} is running",
            fix="choose another id",
            code="busy",
        ) from error
    os.makedirs(f"{path}/rootfs", exist_ok=True)
    for index in range(scratch):
        os.makedirs(f"{path}/scratch/{index}", exist_ok=True)
    return StateDirectory(path, lock)


def write_file(path: str, text: str) -> None:
    """Write in place, so that a bind mount of the file sees the change."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def make_stubs(rootfs: Rootfs, identifier: str, points: Sequence[tuple[str, bool]]) -> str | None:
    """A directory that holds the mount points, for the bottom of the overlay; None for a plain
    root.

    Mount points that the image lacks come from there and never appear in ``upper``. It lies beside
    ``work``: on another file system overlayfs would give files and folders different device
    numbers.
    """
    if not rootfs.lower:
        return None
    folder = os.path.dirname(rootfs.work or rootfs.lower[-1])
    path = f"{folder}/.stubs-{identifier}"
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o755)
    for name, is_directory in points:
        target = f"{path}/{name}"
        if is_directory:
            os.makedirs(target, exist_ok=True)
        elif not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    return path


def remove_created(root: str, created: Iterable[str]) -> None:
    """Take away mount points that had to be made in ``root`` (an upper directory or a plain root).

    Only what is still as we left it: an empty file, an empty directory. No link is followed.
    """
    resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
    flags = os.O_PATH | os.O_DIRECTORY
    with opened(syscalls, os.open(root, flags | os.O_CLOEXEC)) as top:
        for path in reversed(list(created)):
            folder, _, name = path.rpartition("/")
            try:
                with opened(
                    syscalls, syscalls.openat2(top, folder or ".", flags, resolve=resolve)
                ) as parent:
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        os.rmdir(name, dir_fd=parent)
                    elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                        os.unlink(name, dir_fd=parent)
            except OSError:
                # Filled, replaced or removed by the container: then it is no stub of ours any more.
                continue


def clear_volatile(work: str) -> None:
    """Remove the mark that overlayfs leaves after a volatile mount, so that ``work`` can be used
    again.
    """
    shutil.rmtree(f"{work}/work/incompat", ignore_errors=True)
