"""The snapshots that are there already: all that the start of a container asks of them.

``images.snapshots`` says what a snapshot is and makes them; this only looks, and imports little.
"""

from __future__ import annotations

import os
import time

from images.blobs import RENEW_AFTER
from images.layers.opaque import is_opaque
from images.locks import flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from images.digest import Digest

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
SYNCED: Final = "synced"
"""The state of a snapshot that is known to be on the disk; any other is a boot id."""


class Unpacked:
    """The snapshots below ``base``, by diff id or chain id."""

    def __init__(self, base: str, boot_id: str | None = None) -> None:
        self._base = base
        self._lockfile = f"{base}/.lock"
        self._boot_id = boot_id

    def find(self, digest: Digest) -> str | None:
        """The ``fs`` directory of a snapshot, renewed; None when there is none to rely on."""
        directory = f"{self._base}/{digest.hex}"
        if not self.is_valid(directory):
            return None
        try:
            if time.time() - os.stat(directory).st_mtime >= RENEW_AFTER:
                with flock(self._lockfile, exclusive=False):
                    os.utime(directory)
        except FileNotFoundError:
            return None
        return f"{directory}/fs"

    def find_all(self, layers: Iterable[tuple[Digest, Digest]]) -> list[str] | None:
        """The directories for overlayfs, topmost first, of (diff id, chain id) from the lowest on.

        None when one of them is missing.
        """
        found: list[str] = []
        for diff_id, chain_id in layers:
            path = self.find(diff_id) or self.find(chain_id)
            if path is None:
                return None
            found.insert(0, path)
        return found[: visible(found)]

    def is_valid(self, directory: str) -> bool:
        """Whether a snapshot is complete and sure to be what was written."""
        state = read_state(directory)
        return state == SYNCED or (state is not None and state == self.boot_id)

    @property
    def boot_id(self) -> str:
        """Names the time since this kernel was started (random(4))."""
        if self._boot_id is None:
            with open(BOOT_ID, encoding="utf-8") as file:
                self._boot_id = file.read().strip()
        return self._boot_id


def visible(paths: Iterable[str]) -> int | None:
    """How many layers, topmost first, are to be seen: overlayfs merges roots always, so those below
    one that hides everything must be left out. None for all.
    """
    for index, path in enumerate(paths):
        if is_opaque(path):
            return index + 1
    return None


def read_state(directory: str) -> str | None:
    """What the snapshot says of itself; None when there is none."""
    try:
        with open(f"{directory}/state", encoding="utf-8") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
