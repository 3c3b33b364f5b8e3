"""Whole directory trees: removing and measuring them, however deep, without leaving them.

Trees that containers made are hostile: they may be deeper than the interpreter's stack or the
longest path, and a directory may become a symbolic link while we look. So everything goes through
descriptors.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 64
"""Deeper directories are first moved up; also bounds the descriptors in use."""


def remove_tree(name: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
    """Remove a directory and all it holds; links are removed, never followed.

    Raises:
        OSError: it is not a directory, or something in it cannot be removed.
    """
    top = _open(os.fspath(name), dir_fd)
    try:
        while _empty(top, top, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=dir_fd)


def tree_size(path: str | os.PathLike[str]) -> int:
    """Bytes of the regular files below ``path``, each inode counted once.

    What vanishes meanwhile is not counted.

    Raises:
        FileNotFoundError: ``path`` itself is not there.
    """
    sizes: dict[tuple[int, int], int] = {}
    stack = _add_sizes(os.fspath(path), sizes)
    while stack:
        with suppress(FileNotFoundError):
            directory = stack.pop()
            stack.extend(_add_sizes(directory, sizes))
    return sum(sizes.values())


def _add_sizes(directory: str, sizes: dict[tuple[int, int], int]) -> list[str]:
    """Note the files of one directory by device and inode; returns the directories in it."""
    below = []
    with os.scandir(directory) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                below.append(item.path)
                continue
            with suppress(FileNotFoundError):
                status = item.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    sizes[status.st_dev, status.st_ino] = status.st_size
    return below


def _empty(fd: int, top: int, depth: int) -> bool:
    """Empty a directory; returns whether something too deep was moved to ``top`` instead."""
    moved = False
    with os.scandir(fd) as items:
        names = [(item.name, item.is_dir(follow_symlinks=False)) for item in items]
    for name, is_directory in names:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
        elif depth >= _MAX_DEPTH:
            os.rename(name, f"deep-{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)
            moved = True
        else:
            below = _open(name, fd)
            try:
                moved = _empty(below, top, depth + 1) or moved
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=fd)
    return moved


def _open(name: str, dir_fd: int | None) -> int:
    """Open a directory so that its entries can be removed, also without root and mode 0500."""
    if os.geteuid() != 0:
        with suppress(OSError):
            os.chmod(name, 0o700, dir_fd=dir_fd)
    return os.open(name, _OPEN, dir_fd=dir_fd)
