"""The SQLite schema of the index, and the pragmas every connection needs.

Names compare byte by byte (SQLite's default collation), so ``a``, ``a-b`` and ``a/b`` list in the
order that paging relies on. Moments are whole seconds since the epoch. A fresh index is made by the
first schema and then every step after it, so that old and new stores are the same.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from registry.errors import IndexFormatError
from registry.sql.scripts import statements

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

_SAFETY: Final = """
-- The latest moment a client was told that the content exists, as far as it is written down.
ALTER TABLE blob_links RENAME COLUMN created TO leased;
ALTER TABLE manifests ADD COLUMN leased INTEGER NOT NULL DEFAULT 0;
-- What a tag pointed to before, and with which media type, so that a move can be undone.
ALTER TABLE tag_history ADD COLUMN previous TEXT;
ALTER TABLE tag_history ADD COLUMN media_type TEXT;
CREATE INDEX tag_history_by_moment ON tag_history (repository, moment);
-- Kept by triggers, so that a quota costs one look-up.
ALTER TABLE repositories ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN tags INTEGER NOT NULL DEFAULT 0;
UPDATE repositories SET
    tags = (SELECT COUNT(*) FROM tags WHERE repository = id),
    bytes = (SELECT TOTAL(size) FROM blob_links WHERE repository = id)
        + (SELECT TOTAL(size) FROM manifests WHERE repository = id);
CREATE TRIGGER tag_added AFTER INSERT ON tags BEGIN
    UPDATE repositories SET tags = tags + 1 WHERE id = NEW.repository;
END;
CREATE TRIGGER tag_removed AFTER DELETE ON tags BEGIN
    UPDATE repositories SET tags = tags - 1 WHERE id = OLD.repository;
END;
CREATE TRIGGER blob_added AFTER INSERT ON blob_links BEGIN
    UPDATE repositories SET bytes = bytes + NEW.size WHERE id = NEW.repository;
END;
CREATE TRIGGER manifest_added AFTER INSERT ON manifests BEGIN
    UPDATE repositories SET bytes = bytes + NEW.size WHERE id = NEW.repository;
END;
-- Content that lost its last holder; its file is removed later, by a collection.
CREATE TABLE garbage (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER blob_removed AFTER DELETE ON blob_links BEGIN
    UPDATE repositories SET bytes = bytes - OLD.size WHERE id = OLD.repository;
    INSERT OR IGNORE INTO garbage SELECT OLD.digest
        WHERE NOT EXISTS (SELECT 1 FROM blob_links WHERE digest = OLD.digest)
        AND NOT EXISTS (SELECT 1 FROM manifests WHERE digest = OLD.digest);
END;
CREATE TRIGGER manifest_removed AFTER DELETE ON manifests BEGIN
    UPDATE repositories SET bytes = bytes - OLD.size WHERE id = OLD.repository;
    INSERT OR IGNORE INTO garbage SELECT OLD.digest
        WHERE NOT EXISTS (SELECT 1 FROM blob_links WHERE digest = OLD.digest)
        AND NOT EXISTS (SELECT 1 FROM manifests WHERE digest = OLD.digest);
END;
-- Small facts about the whole store, as JSON: how far a collection or a scrub is, its last report.
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_EVENTS: Final = """
-- Changes for followers (``registry.outbox``); ids are never used twice.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    change TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT NOT NULL,
    previous TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    actor TEXT NOT NULL,
    moment INTEGER NOT NULL
);
"""

_SIMPLE_SIGNATURES: Final = """
-- OpenPGP signatures of the signature extension; they go with their manifest.
CREATE TABLE simple_signatures (
    repository INTEGER NOT NULL,
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (repository, digest, name)
) WITHOUT ROWID;
CREATE TRIGGER signed_manifest_removed AFTER DELETE ON manifests BEGIN
    DELETE FROM simple_signatures WHERE repository = OLD.repository AND digest = OLD.digest;
END;
"""

_PAGES: Final = """
-- Who moved a tag, "" for nobody in particular.
ALTER TABLE tag_history ADD COLUMN actor TEXT NOT NULL DEFAULT '';
-- The tags of a repository, those that moved last first.
CREATE INDEX tags_by_moment ON tags (repository, updated, name);
-- What a repository took at the end of each day on which that changed; 0 is all of them together.
CREATE TABLE usage (
    repository INTEGER NOT NULL,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    tags INTEGER NOT NULL,
    PRIMARY KEY (repository, day)
) WITHOUT ROWID;
CREATE TRIGGER repository_removed AFTER DELETE ON repositories BEGIN
    DELETE FROM usage WHERE repository = OLD.id;
END;
"""

_OBJECTS: Final = """
-- Blobs in an object store: which object has the bytes, and when it was last relied on.
CREATE TABLE objects (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    touched REAL NOT NULL
) WITHOUT ROWID;
-- Names that a process is about to give to verified bytes, and those whose bytes are to go.
CREATE TABLE object_claims (name TEXT PRIMARY KEY, moment REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE object_trash (name TEXT PRIMARY KEY) WITHOUT ROWID;
-- Uploads on their way: a multipart upload, its parts, and the object with what follows them.
CREATE TABLE object_stages (
    id TEXT PRIMARY KEY,
    multipart TEXT NOT NULL DEFAULT '',
    tail TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    touched REAL NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    held_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX object_stages_by_age ON object_stages (touched);
CREATE TABLE object_parts (
    stage TEXT NOT NULL,
    number INTEGER NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (stage, number)
) WITHOUT ROWID;
CREATE TRIGGER object_stage_removed AFTER DELETE ON object_stages BEGIN
    DELETE FROM object_parts WHERE stage = OLD.id;
END;
"""

STEPS: Final = (_SCHEMA, _SAFETY, _EVENTS, _SIMPLE_SIGNATURES, _PAGES, _OBJECTS)
"""What brings an index from format n to format n + 1; PostgreSQL has the first ones together, and
takes those after them as they are (``registry.sql``)."""

VERSION: Final = len(STEPS)


def prepare(connection: sqlite3.Connection) -> None:
    """Set this connection up: WAL, durable commits, and patience with other writers."""
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Mapped pages count as memory of each process: enough for the hot ones, bounded for a scan.
    connection.execute("PRAGMA mmap_size = 67108864")


def migrate(connection: sqlite3.Connection, *, where: str) -> None:
    """Bring the index to the format of this release; leave a current one alone.

    Raises:
        IndexFormatError: a newer version wrote this file.
    """
    if read_version(connection, where=where) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another process may have done it meanwhile.
        for step in STEPS[read_version(connection, where=where) :]:
            for statement in statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def read_version(connection: sqlite3.Connection, *, where: str) -> int:
    """The format of an index; 0 for a file without one.

    Raises:
        IndexFormatError: a newer version wrote this file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise IndexFormatError(
            f"the index has format {version}, this registry reads up to {VERSION}",
            where=where,
            fix="start the newer release that wrote it, or restore a backup from before it",
        )
    return int(version)
