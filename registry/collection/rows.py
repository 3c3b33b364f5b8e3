"""Removal of rows, each under conditions that hold within the transaction that removes it.

Between the mark and a removal clients go on: a tag may be made, a lease renewed, an index pushed.
Every statement here asks again, so the mark need not be right, only nearly so. All are writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry.collection.marking import UNNEEDED
from registry.index import SqlIndex
from registry.retention import TagRow

_MANIFEST: Final = (
    "DELETE FROM manifests AS m WHERE m.repository = ?1 AND m.digest = ?2"
    " AND m.created < ?3 AND m.leased < ?3 AND NOT EXISTS"
    " (SELECT 1 FROM tags t WHERE t.repository = ?1 AND t.digest = ?2)"
    f" AND {UNNEEDED}"
)
_BLOB: Final = (
    "DELETE FROM blob_links WHERE repository = ?1 AND digest = ?2 AND leased < ?3 AND NOT EXISTS"
    " (SELECT 1 FROM manifest_references WHERE repository = ?1 AND target = ?2)"
)


class Rows:
    """The rows of one repository."""

    def __init__(self, index: SqlIndex, key: int, name: str) -> None:
        self._index = index
        self._key = key
        self._name = name

    def remove_manifests(self, digests: Sequence[str], *, leased: int) -> int:
        """Remove those that nothing needs and no lease protects; returns how many."""
        execute = self._index.writer.execute
        removed = 0
        for digest in digests:
            if execute(_MANIFEST, (self._key, digest, leased)).rowcount == 0:
                continue
            parameters = (self._key, digest)
            execute(
                "DELETE FROM manifest_references WHERE repository = ? AND manifest = ?", parameters
            )
            execute("DELETE FROM referrers WHERE repository = ? AND digest = ?", parameters)
            self._index.journal.say("unmanifest", self._name, digest)
            removed += 1
        return removed

    def remove_blobs(self, digests: Sequence[str], *, leased: int) -> int:
        """Remove links that no manifest needs and no lease protects; returns how many."""
        execute = self._index.writer.execute
        return sum(execute(_BLOB, (self._key, digest, leased)).rowcount for digest in digests)

    def remove_tags(self, rows: Sequence[TagRow]) -> int:
        """Remove tags that have not moved since they were read; returns how many."""
        sql = "SELECT 1 FROM tags WHERE repository = ? AND name = ? AND updated = ?"
        removed = 0
        for row in rows:
            if self._index.writer.execute(sql, (self._key, row.name, row.moved)).fetchone():
                removed += self._index.delete_tag(self._name, row.name)
        return removed

    def forget_moves(self, *, before: int) -> int:
        """Forget moves of tags before that moment; returns how many."""
        sql = "DELETE FROM tag_history WHERE repository = ? AND moment < ?"
        return self._index.writer.execute(sql, (self._key, before)).rowcount

    def remove_repository(self, *, before: int) -> bool:
        """Remove the repository if it is empty, and was made before that moment."""
        execute = self._index.writer.execute
        sql = (
            "DELETE FROM repositories WHERE id = ?1 AND created < ?2"
            " AND NOT EXISTS (SELECT 1 FROM blob_links WHERE repository = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM tags WHERE repository = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM uploads WHERE repository = ?3)"
        )
        if execute(sql, (self._key, before, self._name)).rowcount == 0:
            return False
        for table in ("manifest_references", "referrers", "tag_history"):
            execute(f"DELETE FROM {table} WHERE repository = ?", (self._key,))
        return True
