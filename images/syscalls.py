"""The kernel calls that Python's ``os`` module lacks, under their man-page names; the only ctypes
in here.

Leaf module: it knows nothing of images. Each function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from images.errors import EnvironmentFault

AT_FDCWD: Final = -100
RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

_SYS_OPENAT2: Final = 437  # the same number on every architecture since Linux 5.6

_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
_syncfs: Final = _libc.syncfs
_syncfs.restype = ctypes.c_int
_syncfs.argtypes = (ctypes.c_int,)
_sync_file_range: Final = _libc.sync_file_range
_sync_file_range.restype = ctypes.c_int
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
SYNC_FILE_RANGE_WRITE: Final = 2


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(dirfd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below ``dirfd`` under the ``RESOLVE_*`` rules; close-on-exec is always set.

    A resolution that raced with a rename (EAGAIN) is tried again.

    Raises:
        EnvironmentFault: the kernel is older than 5.6, or a sandbox hides the call.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    encoded = os.fsencode(path)
    for _ in range(128):
        fd: int = _syscall(_SYS_OPENAT2, dirfd, encoded, ctypes.addressof(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise EnvironmentFault("this kernel has no openat2(2)", fix="use Linux 5.6 or newer")
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), path)


def syncfs(fd: int) -> None:
    """Write all that is dirty on the file system of ``fd`` to its disk, and report write errors."""
    if _syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync_file_range(fd: int, offset: int, length: int, flags: int) -> None:
    """With ``SYNC_FILE_RANGE_WRITE``: begin to write that range to its disk, and do not wait."""
    if _sync_file_range(fd, offset, length, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
