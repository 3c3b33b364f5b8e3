"""The state of a build context by file status alone: one walk, no file opened.

Two scans with equal digests saw the same names, modes, sizes, inodes and change times. A change
time cannot be set by a program, so equal digests mean unchanged content, with one exception: a file
changed twice within one tick of the file system's clock. ``settled`` says whether every change was
long enough before the scan to rule that out (the rule git's index calls "racy").
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

FINE_TICK_NS: Final = 20_000_000
"""Longer than a kernel tick, which bounds the resolution of Linux file systems with nanoseconds."""
COARSE_TICK_NS: Final = 2_000_000_000
"""Resolution of file systems that keep whole seconds."""


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
    rows: list[str] = []
    newest = 0
    pending = [""]
    while pending:
        prefix = pending.pop()
        # By descriptor, so that the kernel walks the directory's own path once and not per entry.
        folder = os.open(f"{root}/{prefix}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(folder) as items:
                for item in items:
                    path = prefix + item.name
                    status = item.stat(follow_symlinks=False)
                    mode = status.st_mode
                    is_directory = stat.S_ISDIR(mode)
                    if ignored is not None and ignored(path):
                        if is_directory and not (may_prune and may_prune(path)):
                            pending.append(path + "/")
                        continue
                    changed = status.st_ctime_ns
                    if changed > newest:
                        newest = changed
                    if is_directory:
                        # Its size and times follow from its entries, which are listed.
                        rows.append(f"{path}\0{mode} {status.st_uid} {status.st_gid}")
                        pending.append(path + "/")
                    else:
                        rows.append(
                            f"{path}\0{mode} {status.st_size} {changed}"
                            f" {status.st_mtime_ns} {status.st_ino}"
                        )
        finally:
            os.close(folder)
    joined = "\0\0".join(rows).encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(joined).hexdigest()
    return ContextScan(digest, newest, now_ns, coarse=newest % 1_000_000_000 == 0)
