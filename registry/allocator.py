"""The C library's allocator, told what the registry does all day: pieces of bodies come and go.

glibc maps each piece of 256 KiB anew, gives it back and has the kernel clear fresh pages for the
next. Kept in the heap, the same pages serve again: a tenth of the CPU time of an upload.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""mallopt(3)."""

MAPPED_FROM: Final = 2 << 20
"""Bytes; what is larger is given back to the system as soon as it is freed."""

KEPT: Final = 16 << 20
"""Bytes at the end of the heap that may be free and stay."""


def keep_pages() -> None:
    """Keep what uploads free; without effect where the C library has no mallopt(3)."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        mallopt(_M_TRIM_THRESHOLD, KEPT)
