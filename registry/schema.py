"""The SQLite schema of the index, and the pragmas every connection needs.

Names compare byte by byte (SQLite's default collation), so ``a``, ``a-b`` and ``a/b`` list in the
order that paging relies on. Moments are whole seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registry.errors import IndexFormatError

if TYPE_CHECKING:
    import sqlite3

VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
);
-- A blob is readable only through a repository that has a link to it (CVE-2024-39897).
CREATE TABLE blob_links (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX blob_links_by_digest ON blob_links (digest);
CREATE TABLE manifests (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    subject TEXT,
    created INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);
-- What a manifest keeps alive: its blobs and, for an index, its children.
CREATE TABLE manifest_references (
    repository INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, target)
) WITHOUT ROWID;
CREATE INDEX manifest_references_by_target ON manifest_references (repository, target);
-- One finished descriptor per referrer: listing them parses no manifest.
CREATE TABLE referrers (
    repository INTEGER NOT NULL,
    subject TEXT NOT NULL,
    digest TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    descriptor BLOB NOT NULL,
    PRIMARY KEY (repository, subject, digest)
) WITHOUT ROWID;
CREATE INDEX referrers_by_type ON referrers (repository, subject, artifact_type, digest);
CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, digest);
-- Every move of a tag, its deletion with a NULL digest.
CREATE TABLE tag_history (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT,
    moment INTEGER NOT NULL
);
CREATE INDEX tag_history_by_tag ON tag_history (repository, name, id);
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_age ON uploads (created);
"""


def prepare(connection: sqlite3.Connection) -> None:
    """Set this connection up: WAL, durable commits, and patience with other writers."""
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA mmap_size = 268435456")


def migrate(connection: sqlite3.Connection, *, where: str) -> None:
    """Create the tables of a fresh index; leave a current one alone.

    Raises:
        IndexFormatError: a newer version wrote this file.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise IndexFormatError(
                f"the index has format {version}, this registry reads up to {VERSION}",
                where=where,
                fix="start the newer release that wrote it",
            )
        if version == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
