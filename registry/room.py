"""The room that content leaves on a disk, so that a full one can still be emptied.

Deletions and collections write before they free anything: rows in the index and its log. On a disk
that pushes had filled to the last byte nothing could be deleted any more.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_SHARE: Final = 16
"""At most this part of a disk is kept free, so that small ones are of use."""


class Room:
    """The disk below ``folder``, of which ``reserve`` bytes are not for content."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder = folder
        self._reserve = reserve

    def need(self, size: int) -> None:
        """See that ``size`` bytes of content fit.

        Raises:
            OSError: ENOSPC, as the disk itself would say it.
        """
        if not self._reserve:
            return
        disk = os.statvfs(self._folder)
        reserve = min(self._reserve, disk.f_blocks * disk.f_frsize // _SHARE)
        if disk.f_bavail * disk.f_frsize < reserve + size:
            raise OSError(errno.ENOSPC, f"No space but the {reserve} bytes of limits.free_space")
