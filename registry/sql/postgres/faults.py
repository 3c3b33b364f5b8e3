"""PostgreSQL's errors as ours. What clients are told has no names of hosts and no statements."""

from __future__ import annotations

from typing import Final

import psycopg

from registry.errors import RegistryStartError
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

_FIXES: Final = {
    "42501": "make the registry's user the owner of its database, or of its schema",
    "3D000": "make it: CREATE DATABASE lading OWNER lading ENCODING 'UTF8' TEMPLATE template0",
    "28P01": "correct the password in index.url_file, or in the file that PGPASSFILE names",
    "28000": "see pg_hba.conf of the server, and the user in index.url",
}
"""What to do, by SQLSTATE (appendix A)."""
_WORDS: Final = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("does not exist", "3D000"),
)


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


def start_error(error: DatabaseError, where: str) -> RegistryStartError:
    """Why a registry cannot start, in the server's words; they have no password."""
    cause = error.__cause__
    said = str(cause or error).strip().partition("\n")[0]
    # libpq's own messages have no SQLSTATE; the server's words are within them.
    state = getattr(cause, "sqlstate", None) or next(
        (state for text, state in _WORDS if text in str(cause)), ""
    )
    fix = _FIXES.get(state, "start it, and correct index.url: host, port, user and database")
    return RegistryStartError(f"the database cannot be used: {said}", where=where, fix=fix)
