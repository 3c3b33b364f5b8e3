"""What pages ask of the index: read only, each answer O(page), whatever the registry holds.

Every statement runs along an index (``tests/registry/web/test_queries.py`` reads the plans); where
a text is looked for within names, a bounded window of them is looked at. Blocking; for the reading
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from images.mediatype import INDEXES
from registry.sql.connection import Connection

WINDOW: Final = 20_000
"""Names that one search looks at."""
HOLDERS: Final = 24
"""Repositories and manifests that are looked at for who else has a layer."""
_LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository in a list; ``moved`` is when a tag moved last, None without tags."""

    name: str
    bytes: int
    tags: int
    moved: int | None


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag in a list; ``size`` is of all that the manifest needs, ``actor`` who moved it last."""

    name: str
    digest: str
    updated: int
    media_type: str
    manifest_size: int
    size: int
    actor: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who else has a blob: other manifests of the repository, and other repositories, some."""

    manifests: int
    repositories: tuple[str, ...]


class Queries:
    """Reads over the connection of the calling thread."""

    def __init__(self, reader: Callable[[], Connection]) -> None:
        self._reader = reader

    def key(self, repository: str) -> int | None:
        """The number of a repository; None where there is none."""
        rows = self._rows("SELECT id FROM repositories WHERE name = ?", repository)
        return int(rows[0][0]) if rows else None

    def names(self, *, last: str, limit: int, before: str = _LAST) -> list[str]:
        """Up to ``limit`` names of repositories after ``last`` and before ``before``, ascending."""
        sql = "SELECT name FROM repositories WHERE name > ? AND name < ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._rows(sql, last, before, limit)]

    def found_names(self, text: str, *, last: str, limit: int) -> tuple[list[str], str | None]:
        """Names of repositories after ``last`` with ``text`` in them; see ``found_tags``."""
        window = "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?"
        sql = f"SELECT name FROM ({window}) page WHERE instr(name, ?) > 0 LIMIT ?"
        found = [name for (name,) in self._rows(sql, last, WINDOW, text, limit)]
        end = "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT 1 OFFSET ?"
        rows = self._rows(end, last, WINDOW - 1) if len(found) < limit else []
        return found, str(rows[0][0]) if rows else None

    def repositories(self, names: Sequence[str]) -> list[RepositoryRow]:
        """These repositories, by name."""
        marks = ", ".join("?" * len(names))
        sql = (
            "SELECT name, bytes, tags, (SELECT MAX(updated) FROM tags WHERE repository = id)"
            f" FROM repositories WHERE name IN ({marks}) ORDER BY name"
        )
        return [RepositoryRow(*row) for row in self._rows(sql, *names)]

    def newest_tags(self, key: int, *, before: tuple[int, str] | None, limit: int) -> list[TagRow]:
        """Up to ``limit`` tags, those that moved last first, after the one of ``before``."""
        moved, name = before or (1 << 62, "")
        chosen = (
            "SELECT name, digest, updated FROM tags"
            " WHERE repository = ? AND (updated, name) < (?, ?)"
            " ORDER BY updated DESC, name DESC LIMIT ?"
        )
        return self._tags(chosen, "updated DESC, name DESC", key, moved, name, limit)

    def named_tags(self, key: int, *, last: str, limit: int) -> list[TagRow]:
        """Up to ``limit`` tags after ``last``, by name."""
        chosen = (
            "SELECT name, digest, updated FROM tags WHERE repository = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        return self._tags(chosen, "name", key, last, limit)

    def prefixed_tags(self, key: int, prefix: str, *, last: str, limit: int) -> list[TagRow]:
        """Up to ``limit`` tags after ``last`` that begin with ``prefix``, by name."""
        chosen = (
            "SELECT name, digest, updated FROM tags WHERE repository = ? AND name > ?"
            " AND name >= ? AND name < ? ORDER BY name LIMIT ?"
        )
        return self._tags(chosen, "name", key, last, prefix, prefix + _LAST, limit)

    def found_tags(
        self, key: int, text: str, *, last: str, limit: int
    ) -> tuple[list[TagRow], str | None]:
        """Tags after ``last`` with ``text`` in their names, and where the window ended.

        None there: nothing lies behind the window.
        """
        window = (
            "SELECT name, digest, updated FROM tags WHERE repository = ? AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        chosen = f"SELECT * FROM ({window}) page WHERE instr(name, ?) > 0 LIMIT ?"
        found = self._tags(chosen, "name", key, last, WINDOW, text, limit)
        end = (
            "SELECT name FROM tags WHERE repository = ? AND name > ? ORDER BY name LIMIT 1 OFFSET ?"
        )
        rows = self._rows(end, key, last, WINDOW - 1)
        return found, str(rows[0][0]) if rows else None

    def tag_count(self, key: int) -> int:
        """How many tags there are."""
        return int(self._rows("SELECT tags FROM repositories WHERE id = ?", key)[0][0])

    def tags_of(self, key: int, digest: str, *, limit: int) -> list[str]:
        """Some tags of a manifest."""
        sql = "SELECT name FROM tags WHERE repository = ? AND digest = ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._rows(sql, key, digest, limit)]

    def created(self, key: int, digest: str) -> int:
        """When a manifest was pushed last."""
        sql = "SELECT created FROM manifests WHERE repository = ? AND digest = ?"
        return int(self._rows(sql, key, digest)[0][0])

    def lists_of(self, key: int, digest: str, *, limit: int) -> list[str]:
        """Some indexes that list a manifest."""
        types = ", ".join("?" * len(INDEXES))
        sql = (
            "SELECT m.digest FROM manifest_references r"
            " JOIN manifests m ON m.repository = r.repository AND m.digest = r.manifest"
            f" WHERE r.repository = ? AND r.target = ? AND m.media_type IN ({types}) LIMIT ?"
        )
        return [name for (name,) in self._rows(sql, key, digest, *sorted(INDEXES), limit)]

    def sharing(self, key: int, digests: Iterable[str]) -> dict[str, Sharing]:
        """Who else has these blobs, as far as ``HOLDERS`` goes."""
        users = (
            "SELECT COUNT(*) FROM (SELECT 1 FROM manifest_references"
            " WHERE repository = ? AND target = ? LIMIT ?) page"
        )
        holders = (
            "SELECT name FROM blob_links JOIN repositories ON id = repository"
            " WHERE digest = ? AND repository <> ? LIMIT ?"
        )
        return {
            digest: Sharing(
                self._rows(users, key, digest, HOLDERS)[0][0] - 1,
                tuple(name for (name,) in self._rows(holders, digest, key, HOLDERS)),
            )
            for digest in digests
        }

    def usage(self, key: int, *, since: int) -> list[tuple[int, int]]:
        """(day, bytes) of a repository, or with 0 of all, on days that changed it, ascending."""
        sql = "SELECT day, bytes FROM usage WHERE repository = ? AND day >= ? ORDER BY day"
        return [(day, size) for day, size in self._rows(sql, key, since)]

    def fact(self, name: str) -> Any:
        """A remembered JSON value; None where there is none."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return orjson.loads(rows[0][0]) if rows else None

    def _tags(self, chosen: str, order: str, *parameters: Any) -> list[TagRow]:
        # What an index lists is there by one more step. CROSS keeps the order: r chooses few of c.
        sql = (
            f"WITH page AS MATERIALIZED ({chosen})"
            " SELECT p.name, p.digest, p.updated, m.media_type, m.size,"
            " (SELECT CAST(m.size + COALESCE(SUM(size), 0) AS BIGINT) FROM blob_links"
            " WHERE repository = ?1 AND digest IN (SELECT target FROM manifest_references"
            " WHERE repository = ?1 AND manifest = p.digest UNION SELECT c.target"
            " FROM manifest_references r CROSS JOIN manifest_references c"
            " WHERE c.repository = ?1 AND c.manifest = r.target"
            " AND r.repository = ?1 AND r.manifest = p.digest)),"
            " COALESCE((SELECT actor FROM tag_history h"
            " WHERE h.repository = ?1 AND h.name = p.name"
            " ORDER BY id DESC LIMIT 1), '')"
            " FROM page p JOIN manifests m ON m.repository = ?1 AND m.digest = p.digest"
            f" ORDER BY {order}"
        )
        return [TagRow(*row) for row in self._rows(sql, *parameters)]

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        return self._reader().execute(sql, parameters).fetchall()
