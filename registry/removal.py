"""Removing a whole repository, which neither the specification nor Docker has a request for.

Manifests go with their tags, then links to blobs, then the name; other repositories keep what they
have, and a collection frees the bytes. It goes in steps, so that a server on the same store is not
held up, and each step is what a client's deletes would have been: rules of immutable tags hold, and
nothing that was deleted is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from registry.collection.rows import Rows
from registry.errors import RepositoryUnknownError
from registry.index import SqlIndex

_STEP: Final = 200
"""Rows removed in one transaction."""


@dataclass(frozen=True, slots=True)
class RemovalReport:
    """What went; ``gone`` is False when clients went on pushing there."""

    manifests: int
    blobs: int
    gone: bool


def remove_repository(
    index: SqlIndex, repository: str, *, clock: Callable[[], float] = time.time
) -> RemovalReport:
    """Remove a repository with everything in it; blocks.

    Raises:
        RepositoryUnknownError: there is none of this name.
        PolicyError: a tag is immutable; what went before it stays removed.
    """
    row = index.reader().execute("SELECT id FROM repositories WHERE name = ?", (repository,))
    found = row.fetchone()
    if found is None:
        raise RepositoryUnknownError(
            "there is no such repository",
            where=repository,
            fix="GET /v2/_catalog lists them",
        )
    (key,) = found
    manifests = _drain(index, repository, key, "manifests", index.delete_manifest)
    blobs = _drain(index, repository, key, "blob_links", index.unlink_blob)
    rows = Rows(index, key, repository)
    before = int(clock()) + 1
    gone = index.write(repository, lambda: rows.remove_repository(before=before))
    return RemovalReport(manifests, blobs, gone)


def _drain(
    index: SqlIndex,
    repository: str,
    key: int,
    table: str,
    remove: Callable[[str, str], bool],
) -> int:
    """Remove what the table has of the repository; returns how many rows went."""
    removed = 0
    sql = f"SELECT digest FROM {table} WHERE repository = ? LIMIT {_STEP}"
    while rows := index.reader().execute(sql, (key,)).fetchall():
        digests = [digest for (digest,) in rows]
        removed += index.write(repository, partial(_remove, repository, digests, remove))
    return removed


def _remove(repository: str, digests: Sequence[str], remove: Callable[[str, str], bool]) -> int:
    return sum(remove(repository, digest) for digest in digests)
