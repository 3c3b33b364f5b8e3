"""What goes wrong with a database, whichever it is, as one family to catch.

SQLite's own errors are passed on; those of PostgreSQL become ``DatabaseError``, so that nobody else
needs its driver to name them.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from images.errors import EnvironmentFault


class DatabaseError(EnvironmentFault):
    """The database refused, failed, or cannot be reached. ``what`` names no password."""

    code = "registry-database"


class DatabaseLostError(DatabaseError):
    """The connection broke, or the server ended; what was under way did not happen."""

    code = "registry-database-lost"


class OutcomeUnknownError(DatabaseError):
    """The connection broke at a commit, and whether it happened cannot be found out."""

    code = "registry-database-unknown"


class DatabaseBusyError(DatabaseError):
    """Others kept the lock, or every connection, for too long; trying again helps."""

    code = "registry-database-busy"


class DatabaseFullError(DatabaseError):
    """The server has no space left."""

    code = "registry-database-full"


class UnfitValueError(DatabaseError):
    """A value that the database cannot hold, such as a text with a NUL."""

    code = "registry-database-value"


DATABASE_ERRORS: Final = (sqlite3.Error, DatabaseError)
"""What running a statement may raise."""

STORE_ERRORS: Final = (OSError, *DATABASE_ERRORS)
"""What a store may raise: its files, or its database."""
