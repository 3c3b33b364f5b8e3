"""What one repository still needs, decided in temporary tables: memory stays bounded.

A repository is a closed world, since references never leave it. Its roots are manifests with a tag,
under a lease, in the undo window of a tag, or not yet old enough for the rules; from them the mark
follows references down (indexes to manifests, manifests to blobs) and referrers up (subjects to
what refers to them). Each row is looked at once, however manifests are nested. Digests make cycles
impossible, and the union in the query ends should somebody forge one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from registry.database import Database

_TABLES: Final = (
    "CREATE TEMP TABLE dropped (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE live (digest TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE dead_manifests (digest TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE dead_blobs (digest TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE ready (place INTEGER PRIMARY KEY, digest TEXT UNIQUE)",
    "CREATE TEMP TABLE freed (digest TEXT PRIMARY KEY) WITHOUT ROWID",
    # Rows that a dry run would have removed, counted by digest over all repositories.
    "CREATE TEMP TABLE doomed (digest TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID",
)

UNNEEDED: Final = (
    "NOT EXISTS (SELECT 1 FROM manifest_references r WHERE r.repository = m.repository"
    " AND r.target = m.digest AND r.manifest <> m.digest)"
    " AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository = m.repository"
    " AND s.digest = m.subject AND s.digest <> m.digest)"
)
"""That manifest ``m`` is no part of an index, and refers to no manifest that is still there."""

_MARK: Final = """
INSERT INTO live
WITH RECURSIVE reach (digest) AS (
    SELECT m.digest FROM manifests m WHERE m.repository = ?1 AND (
        m.created >= ?2 OR m.leased >= ?2
        OR EXISTS (SELECT 1 FROM tags t WHERE t.repository = ?1 AND t.digest = m.digest
            AND NOT EXISTS (SELECT 1 FROM dropped d WHERE d.name = t.name))
        OR m.digest IN
            (SELECT previous FROM tag_history WHERE repository = ?1 AND moment >= ?3)
        OR ((CASE WHEN m.leased > m.created THEN m.leased ELSE m.created END) >=
            (CASE WHEN m.subject IS NULL THEN CAST(?4 AS BIGINT) ELSE CAST(?5 AS BIGINT) END)
            AND NOT EXISTS
            (SELECT 1 FROM manifests s WHERE s.repository = ?1 AND s.digest = m.subject)))
    UNION
    SELECT l.needed FROM reach JOIN (
        SELECT r.manifest AS holder, r.target AS needed FROM manifest_references r
            WHERE r.repository = ?1
        UNION ALL
        SELECT f.subject, f.digest FROM referrers f WHERE f.repository = ?1
    ) l ON l.holder = reach.digest
)
SELECT digest FROM reach WHERE true ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Moments in seconds since the epoch; what is as young as one of them is kept by it."""

    leased: int
    undo: int
    untagged: int
    dangling: int


class Marking:
    """One collection's view of the index, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.connection = database.connect()
        for statement in _TABLES:
            self.connection.execute(statement)

    def close(self) -> None:
        """Close the connection, which drops the tables."""
        self._database.disconnect(self.connection)

    def drop_tags(self, names: Sequence[str]) -> None:
        """Mark as if the current repository had these tags no more."""
        self.connection.executemany("INSERT INTO dropped VALUES (?)", ((n,) for n in names))

    def mark(self, key: int, cutoffs: Cutoffs) -> None:
        """Find what the repository ``key`` does not need; ``drop_tags`` comes before."""
        parameters = (key, cutoffs.leased, cutoffs.undo, cutoffs.untagged, cutoffs.dangling)
        execute = self.connection.execute
        execute("BEGIN")
        try:
            execute(_MARK, parameters)
            execute(
                "INSERT INTO dead_manifests SELECT digest FROM manifests m WHERE m.repository = ?"
                " AND NOT EXISTS (SELECT 1 FROM live l WHERE l.digest = m.digest)",
                (key,),
            )
            execute(
                "INSERT INTO dead_blobs SELECT digest FROM blob_links b WHERE b.repository = ?"
                " AND b.leased < ? AND NOT EXISTS"
                " (SELECT 1 FROM live l WHERE l.digest = b.digest)",
                (key, cutoffs.leased),
            )
        finally:
            execute("COMMIT")

    def counts(self) -> tuple[int, int]:
        """How many manifests and blobs of the repository are not needed."""
        sql = "SELECT (SELECT COUNT(*) FROM dead_manifests), (SELECT COUNT(*) FROM dead_blobs)"
        manifests, blobs = self.connection.execute(sql).fetchone()
        return manifests, blobs

    def manifests(self, key: int, *, batch: int) -> Iterator[list[str]]:
        """Unneeded manifests, each after what needs it; the caller removes a batch, then goes on.

        What the caller did not remove stays, and so does everything that it needs.
        """
        execute = self.connection.execute
        execute(
            "INSERT INTO ready (digest) SELECT m.digest FROM dead_manifests d JOIN manifests m"
            f" ON m.repository = ? AND m.digest = d.digest WHERE {UNNEEDED}",
            (key,),
        )
        place = 0
        while rows := execute(
            "SELECT place, digest FROM ready WHERE place > ? ORDER BY place LIMIT ?", (place, batch)
        ).fetchall():
            for _, digest in rows:
                self._note_freed(key, digest)
            yield [digest for _, digest in rows]
            place = rows[-1][0]
            execute(
                "INSERT INTO ready (digest) SELECT m.digest FROM freed c JOIN manifests m"
                f" ON m.repository = ? AND m.digest = c.digest WHERE {UNNEEDED}"
                " ON CONFLICT DO NOTHING",
                (key,),
            )
            execute("DELETE FROM freed")

    def blobs(self, *, batch: int) -> Iterator[list[str]]:
        """Unneeded blobs of the repository."""
        last = ""
        sql = "SELECT digest FROM dead_blobs WHERE digest > ? ORDER BY digest LIMIT ?"
        while rows := self.connection.execute(sql, (last, batch)).fetchall():
            last = rows[-1][0]
            yield [digest for (digest,) in rows]

    def doom(self) -> None:
        """Count this repository's unneeded rows for ``doomed``."""
        for table in ("dead_manifests", "dead_blobs"):
            self.connection.execute(
                f"INSERT INTO doomed SELECT digest, 1 FROM {table} WHERE true"
                " ON CONFLICT (digest) DO UPDATE SET number = doomed.number + 1"
            )

    def doomed(self) -> Iterator[str]:
        """Content that no row would hold any more, and garbage that none holds now."""
        sql = (
            "SELECT digest FROM doomed WHERE number ="
            " (SELECT COUNT(*) FROM blob_links b WHERE b.digest = doomed.digest)"
            " + (SELECT COUNT(*) FROM manifests m WHERE m.digest = doomed.digest)"
            " UNION SELECT digest FROM garbage g"
            " WHERE NOT EXISTS (SELECT 1 FROM blob_links b WHERE b.digest = g.digest)"
            " AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.digest = g.digest)"
        )
        for (digest,) in self.connection.execute(sql):
            yield digest

    def forget(self) -> None:
        """Be done with the current repository."""
        for table in ("dropped", "live", "dead_manifests", "dead_blobs", "ready", "freed"):
            self.connection.execute(f"DELETE FROM {table}")

    def _note_freed(self, key: int, digest: str) -> None:
        """Remember what might be unneeded once this manifest is gone."""
        self.connection.execute(
            "INSERT INTO freed"
            " SELECT target FROM manifest_references WHERE repository = ?1 AND manifest = ?2"
            " AND target IN (SELECT digest FROM dead_manifests)"
            " UNION SELECT digest FROM referrers WHERE repository = ?1 AND subject = ?2"
            " AND digest IN (SELECT digest FROM dead_manifests) ON CONFLICT DO NOTHING",
            (key, digest),
        )
