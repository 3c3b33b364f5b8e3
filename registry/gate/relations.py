"""What the index knows about a manifest's standing: its tags, and the lists it is a child of."""

from __future__ import annotations

from typing import Final

from images.mediatype import INDEXES
from registry.records import ManifestRow
from registry.sql.connection import Connection

_REPOSITORY: Final = "(SELECT id FROM repositories WHERE name = ?)"
_LOOKED_AT: Final = 1024
"""Most lists of one child that are put in order; more come from nobody honest."""


def tags_of(reader: Connection, repository: str, digest: str, *, limit: int) -> list[str]:
    """Up to ``limit`` tags that point at ``digest``, those that moved last first."""
    sql = (
        f"SELECT name FROM tags WHERE repository = {_REPOSITORY} AND digest = ?"
        " ORDER BY updated DESC, name LIMIT ?"
    )
    return [name for (name,) in reader.execute(sql, (repository, digest, limit))]


def lists_of(reader: Connection, repository: str, digest: str, *, limit: int) -> list[ManifestRow]:
    """Up to ``limit`` indexes that refer to ``digest``: tagged ones first, then the newest."""
    types = ", ".join("?" * len(INDEXES))
    found = (
        "SELECT m.repository, m.digest, m.media_type, m.size, m.created FROM manifest_references r"
        " JOIN manifests m ON m.repository = r.repository AND m.digest = r.manifest"
        f" WHERE r.repository = {_REPOSITORY} AND r.target = ? AND m.media_type IN ({types})"
        " LIMIT ?"
    )
    sql = (
        f"SELECT digest, media_type, size FROM ({found}) f ORDER BY EXISTS (SELECT 1 FROM tags t"
        " WHERE t.repository = f.repository AND t.digest = f.digest) DESC, created DESC LIMIT ?"
    )
    parameters = (repository, digest, *sorted(INDEXES), _LOOKED_AT, limit)
    return [ManifestRow(*row) for row in reader.execute(sql, parameters)]
