"""PostgreSQL's errors as ours. What clients are told has no names of hosts and no statements."""

from __future__ import annotations

from typing import Final

import psycopg

from registry.sql.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseLostError,
    UnfitValueError,
)

_LOST: Final = ("08", "57P", "25P03", "25P04")
"""Connection exceptions, servers that shut down or start, and sessions that were ended for standing
still within a transaction (appendix A)."""
_BUSY: Final = ("40001", "40P01", "55P03", "57014", "53300")
_FULL: Final = ("53100",)


def fault_of(error: psycopg.Error) -> DatabaseError:
    """What to raise from ``error``."""
    state = error.sqlstate
    if isinstance(error, psycopg.DataError):
        return UnfitValueError("a text has a character, or a number a size, that cannot be stored")
    if state is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return DatabaseLostError("the database of the index cannot be reached")
        return DatabaseError("the database of the index refused a statement")
    if state.startswith(_LOST):
        return DatabaseLostError("the database of the index ended the connection")
    if state in _BUSY:
        return DatabaseBusyError("the index is busy")
    if state in _FULL:
        return DatabaseFullError("the database of the index is full")
    return DatabaseError(f"the database of the index refused a statement (SQLSTATE {state})")
