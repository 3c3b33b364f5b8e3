"""The state of a build context by file status alone: one walk, no file opened.

Two scans with equal digests saw the same names, modes, sizes, inodes and change times. A change
time cannot be set by a program, so equal digests mean unchanged content, with one exception: a file
changed twice within one tick of the file system's clock. ``settled`` says whether every change was
long enough before the scan to rule that out (the rule git's index calls "racy").
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from struct import Struct

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FINE_TICK_NS: Final = 20_000_000
"""Longer than a kernel tick, which bounds the resolution of Linux file systems with nanoseconds."""
COARSE_TICK_NS: Final = 2_000_000_000
"""Resolution of file systems that keep whole seconds."""

_FORMAT: Final = 0o170000
_DIRECTORY: Final = 0o040000
"""inode(7), named here because this loop is most of a build in which nothing changed."""
_WORD: Final = (1 << 64) - 1
_ROW: Final = Struct("<IQQQQ")
"""Mode, size, change and modification time in nanoseconds, inode."""


class ContextScan(Record):
    """What one walk saw. ``newest_ns`` is the latest change time; ``coarse`` that it has no ns."""

    digest: str
    newest_ns: int
    started_ns: int
    coarse: bool

    @property
    def settled(self) -> bool:
        """Whether no later change can hide behind the times seen here."""
        return self.wait_ns <= 0

    @property
    def wait_ns(self) -> int:
        """How long before ``started_ns`` was safe, in nanoseconds; negative when it was."""
        tick = COARSE_TICK_NS if self.coarse else FINE_TICK_NS
        return self.newest_ns + tick - self.started_ns


def scan_context(
    root: str,
    *,
    now_ns: int,
    ignored: Callable[[str], bool] | None = None,
    may_prune: Callable[[str], bool] | None = None,
) -> ContextScan:
    """Walk ``root``. Paths that ``ignored`` names do not count; those it prunes are not entered.

    Raises:
        OSError: a directory cannot be read.
    """
    hasher = hashlib.sha256()
    newest = 0
    pending = [""]
    pack = _ROW.pack
    while pending:
        prefix = pending.pop()
        # A directory's size and times follow from its entries, which are listed.
        directories: list[str] = []
        files: list[str] = []
        rows: list[bytes] = []
        # By descriptor, so that the kernel walks the directory's own path once and not per entry.
        folder = os.open(f"{root}/{prefix}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(folder) as items:
                for item in items:
                    name = item.name
                    status = item.stat(follow_symlinks=False)
                    mode = status.st_mode
                    is_directory = mode & _FORMAT == _DIRECTORY
                    if ignored is not None and ignored(prefix + name):
                        if is_directory and not (may_prune and may_prune(prefix + name)):
                            pending.append(f"{prefix}{name}/")
                        continue
                    changed = status.st_ctime_ns
                    if changed > newest:
                        newest = changed
                    if is_directory:
                        directories.append(f"{name}\0{mode}")
                        pending.append(f"{prefix}{name}/")
                        continue
                    files.append(name)
                    modified = status.st_mtime_ns & _WORD
                    rows.append(
                        pack(mode, status.st_size, changed & _WORD, modified, status.st_ino)
                    )
        finally:
            os.close(folder)
        # No name holds a NUL and every row has one length, so no two listings look the same.
        listing = (prefix, str(len(directories)), *directories, str(len(files)), *files, "")
        hasher.update("\0".join(listing).encode("utf-8", "surrogateescape"))
        hasher.update(b"".join(rows))
    return ContextScan(hasher.hexdigest(), newest, now_ns, coarse=newest % 1_000_000_000 == 0)
