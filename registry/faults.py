"""What a client is told when the store fails: a full disk, a failing one, an index that is busy.

The text of such an error names paths and stays in the log; the client learns whether trying again
can help.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from images.errors import EnvironmentFault
from registry.errors import ApiError, OutgrownError, StoreMovingError
from registry.sql.errors import DatabaseFullError, UnfitValueError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUTAGES: Final = _FULL | {errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ESTALE}
_SQLITE_OUTAGES: Final = frozenset(
    {
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    }
)
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_RETRY_SECONDS: Final = "5"
_OUTGROWN: Final = "this registry is being upgraded: reads go on, try writes again soon"
_MOVING: Final = "the store of this registry is being moved: reads go on, try writes again soon"


def refusal_of(error: Exception) -> ApiError | None:
    """The answer to a request that ran into ``error``; None when it is no fault of the store.

    507 for a disk or quota that is full (RFC 4918, section 11.5), 503 with Retry-After for
    everything else.
    """
    if isinstance(error, EnvironmentFault) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, OSError):
        return _full() if error.errno in _FULL else _failing()
    if isinstance(error, StoreMovingError):
        # Where to is for those who run it, and in the log.
        return _passing(_MOVING)
    if isinstance(error, OutgrownError):
        return _passing(_OUTGROWN)
    if isinstance(error, DatabaseFullError):
        return _full()
    if isinstance(error, UnfitValueError):
        return ApiError("MANIFEST_INVALID", message=error.what)
    if isinstance(error, EnvironmentFault):
        return _passing(error.what)
    if isinstance(error, sqlite3.Error):
        return _of_index(error)
    return None


def is_outage(error: BaseException) -> bool:
    """Whether what stands around the registry failed, so that where it struck says nothing."""
    if isinstance(error, EnvironmentFault):
        return True
    if isinstance(error, OSError):
        return error.errno in _OUTAGES
    return isinstance(error, sqlite3.Error) and _kind_of(error) in _SQLITE_OUTAGES


def _kind_of(error: sqlite3.Error) -> int:
    # Extended codes keep the kind there.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _of_index(error: sqlite3.Error) -> ApiError | None:
    code = _kind_of(error)
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in _PASSING:
        return _passing("the index is busy")
    return _failing() if isinstance(error, sqlite3.OperationalError) else None


def _full() -> ApiError:
    return ApiError("UNAVAILABLE", status=507, message="the registry has no space left")


def _failing() -> ApiError:
    return _passing("storage is unavailable")


def _passing(message: str) -> ApiError:
    return ApiError("UNAVAILABLE", message=message, headers={"Retry-After": _RETRY_SECONDS})
