"""The build cache kept in bounds: what the environment allows, looked at after a build."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.options.errors import OptionError, invalid
from engine.options.numbers import parse_size

if TYPE_CHECKING:
    from builder.pruning import Bounds
    from images.store import ImageStore

MAX_USED, RESERVED, MIN_FREE = (
    f"LADING_BUILDER_{name}_SPACE" for name in ("MAX_USED", "RESERVED", "MIN_FREE")
)
DEFAULT_SHARE = 0.2
"""Of the disk that the store is on."""
DEFAULT_LIMIT = 50 * 10**9
RECENT_SECONDS = 3600.0
"""What was used within the last hour stays, so that no build evicts itself."""
PAUSE_SECONDS = 600.0
"""How long nobody looks after somebody has: measuring takes time on a large cache."""
STAMP = "cache-checked"


def bounds_of(environment: Mapping[str, str], disk_size: int) -> Bounds:
    """The bounds that variables set: bytes as ``50g`` or a share of the disk as ``20%``.

    Without any: 20 % of the disk, 50 GB at most.

    Raises:
        OptionError: a value is malformed.
    """
    from builder.pruning import Bounds

    limit, reserved, free = (
        space(environment[name], name, disk_size) if environment.get(name) else None
        for name in (MAX_USED, RESERVED, MIN_FREE)
    )
    if limit is None and free is None:
        limit = min(int(disk_size * DEFAULT_SHARE), DEFAULT_LIMIT)
    return Bounds(limit, reserved, free)


def space(text: str, where: str, disk_size: int) -> int:
    """``50g`` or ``20%`` as bytes.

    Raises:
        OptionError: malformed.
    """
    if not text.endswith("%"):
        return parse_size(text, where)
    try:
        share = float(text[:-1])
    except ValueError as error:
        raise invalid(text, where, "not a percentage", fix="write for example 20%") from error
    if not 0 <= share <= 100:
        raise OptionError(f"{text} is no share of a disk", where=where)
    return int(disk_size * share / 100)


def disk_size(store: ImageStore) -> int:
    """Bytes of the file system that the store is on."""
    disk = os.statvfs(store.root)
    return disk.f_blocks * disk.f_frsize


def collect_after_build(
    store: ImageStore,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.time,
) -> int:
    """Bring the cache into bounds, unless that was done a moment ago; returns the bytes freed.

    Raises:
        OptionError: a variable is malformed.
        EnvironmentFault: the store is not writable.
    """
    from builder.storage import state_directory

    bounds = bounds_of(environment, disk_size(store))
    stamp = state_directory(store) / STAMP
    now = clock()
    try:
        if abs(now - stamp.stat().st_mtime) < PAUSE_SECONDS:
            return 0
    except FileNotFoundError:
        stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    os.utime(stamp, (now, now))
    disk = os.statvfs(store.root)
    filled = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    if bounds.min_free_space is None and filled <= (bounds.max_used_space or 0):
        # A disk with less on it than the cache may hold needs no closer look.
        return 0
    from builder.pruning import prune
    from images.blobs import RENEW_AFTER

    recent = now - RECENT_SECONDS
    pruned = prune(
        store,
        wanted=lambda entry: entry.used < recent,
        everything=True,
        bounds=bounds,
        grace=RENEW_AFTER,
    )
    return pruned.freed
