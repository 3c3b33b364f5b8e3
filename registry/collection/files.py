"""Removal of bytes that no row holds.

Rows go first and durably; then a file goes only while the index is locked and has no row for it. A
client that uploads the same bytes at that moment finds them gone in its own transaction, and is
told so, instead of being told 201 (``registry.admission``). What was touched since the cutoff
stays, so that this remains the exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from images.digest import Digest
from registry.collection.marking import Marking
from registry.database import NO_REPOSITORY, Database
from registry.protocols import Collectable

_LISTED: Final = 500
_BATCH: Final = 250
UNHELD: Final = (
    "NOT EXISTS (SELECT 1 FROM blob_links b WHERE b.digest = {0})"
    " AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = {0})"
)
"""That no row holds the digest, an expression of the statement around it."""


class Files:
    """The bytes of one store."""

    def __init__(self, database: Database, storage: Collectable, *, before: int) -> None:
        self._database = database
        self._storage = storage
        self._before = before

    def orphans(self, marking: Marking) -> Iterator[list[str]]:
        """Old files that no row holds and no garbage names: uploads that were killed.

        Yields batches, empty ones too, so that the caller can stop in between.
        """
        every = self._storage.digests()
        while listed := [str(digest) for digest in islice(every, _LISTED)]:
            marks = ", ".join(f"?{place}" for place in range(1, len(listed) + 1))
            sql = " UNION ".join(
                f"SELECT digest FROM {table} WHERE digest IN ({marks})"
                for table in ("blob_links", "manifests", "garbage")
            )
            known = {digest for (digest,) in marking.connection.execute(sql, listed)}
            found = [digest for digest in listed if digest not in known]
            yield [digest for digest in found if self.size(digest) is not None]

    def size(self, digest: str) -> int | None:
        """The bytes that would be freed; None when the file must stay."""
        return self._storage.reclaimable(Digest.parse(digest), before=self._before)

    def add_garbage(self, digests: Sequence[str]) -> None:
        """Remember files to remove. Write."""
        sql = "INSERT INTO garbage VALUES (?) ON CONFLICT DO NOTHING"
        self._database.writer.executemany(sql, ((digest,) for digest in digests))

    def reclaim(self) -> Iterator[tuple[int, int]]:
        """Remove garbage in batches; yields (files, bytes) of each."""
        self._storage.empty_trash()
        # The rows must be gone for good before the first file goes: a durable commit syncs every
        # commit before it.
        synced = partial(self._database.set_fact, "reclaimed", self._before)
        self._database.write(NO_REPOSITORY, synced)
        last = ""
        sql = "SELECT digest FROM garbage WHERE digest > ? ORDER BY digest LIMIT ?"
        while rows := self._database.reader().execute(sql, (last, _BATCH)).fetchall():
            digests = [digest for (digest,) in rows]
            retire = partial(self._retire, digests)
            freed = self._database.write(NO_REPOSITORY, retire, durable=False)
            self._storage.empty_trash()
            yield freed
            last = digests[-1]

    def _retire(self, digests: Sequence[str]) -> tuple[int, int]:
        execute = self._database.writer.execute
        unheld = f"SELECT {UNHELD.format('CAST(?1 AS TEXT)')}"
        files = total = 0
        for digest in digests:
            if execute(unheld, (digest,)).fetchone()[0]:
                freed = self._storage.retire(Digest.parse(digest), before=self._before)
                if freed is None:
                    continue
                files += 1
                total += freed
            execute("DELETE FROM garbage WHERE digest = ?", (digest,))
        return files, total
