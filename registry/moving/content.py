"""Which blobs a store needs: those that a repository links, and manifests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from images.digest import Digest
from registry.database import Database
from registry.moving.transfer import Wanted

_PAGE: Final = 1000
_TABLES: Final = ("blob_links", "manifests")


def needed(database: Database) -> Iterator[Wanted]:
    """Every blob that has a holder, then every manifest, in order; a page in memory."""
    for table in _TABLES:
        sql = (
            f"SELECT digest, MAX(size) FROM {table} WHERE digest > ? GROUP BY digest"
            " ORDER BY digest LIMIT ?"
        )
        last = ""
        while rows := database.reader().execute(sql, (last, _PAGE)).fetchall():
            for digest, size in rows:
                yield Wanted(Digest.parse(digest), int(size))
            last = rows[-1][0]


def totals(database: Database) -> tuple[int, int]:
    """How many these are now, and their bytes."""
    number = total = 0
    for table in _TABLES:
        sql = (
            "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM"
            f" (SELECT digest, MAX(size) AS size FROM {table} GROUP BY digest) AS once"
        )
        found, size = database.reader().execute(sql).fetchone()
        number, total = number + found, total + size
    return number, total
