"""The index's tables in PostgreSQL: those of ``registry.schema``, with triggers of its own.

A fresh one is made by the first script, which is what SQLite's first steps add up to; later steps
are ``registry.schema``'s, the same for both. The table ``format`` says which format it is.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 6
"""The format that ``TABLES`` and ``TRIGGERS`` make."""

TABLES: Final = """
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,
    tags INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE blob_links (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    leased INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX blob_links_by_digest ON blob_links (digest);
CREATE TABLE manifests (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    subject TEXT,
    created INTEGER NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE TABLE manifest_references (
    repository INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, target)
);
CREATE INDEX manifest_references_by_target ON manifest_references (repository, target);
CREATE TABLE referrers (
    repository INTEGER NOT NULL,
    subject TEXT NOT NULL,
    digest TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    descriptor BLOB NOT NULL,
    PRIMARY KEY (repository, subject, digest)
);
CREATE INDEX referrers_by_type ON referrers (repository, subject, artifact_type, digest);
CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
);
CREATE INDEX tags_by_digest ON tags (repository, digest);
CREATE INDEX tags_by_moment ON tags (repository, updated, name);
CREATE TABLE tag_history (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT,
    moment INTEGER NOT NULL,
    previous TEXT,
    media_type TEXT,
    actor TEXT NOT NULL DEFAULT ''
);
CREATE INDEX tag_history_by_tag ON tag_history (repository, name, id);
CREATE INDEX tag_history_by_moment ON tag_history (repository, moment);
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    created INTEGER NOT NULL
);
CREATE INDEX uploads_by_age ON uploads (created);
CREATE TABLE garbage (digest TEXT PRIMARY KEY);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
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
CREATE TABLE simple_signatures (
    repository INTEGER NOT NULL,
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (repository, digest, name)
);
CREATE TABLE usage (
    repository INTEGER NOT NULL,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    tags INTEGER NOT NULL,
    PRIMARY KEY (repository, day)
);
CREATE TABLE objects (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    touched REAL NOT NULL
);
CREATE TABLE object_claims (name TEXT PRIMARY KEY, moment REAL NOT NULL);
CREATE TABLE object_trash (name TEXT PRIMARY KEY);
CREATE TABLE object_stages (
    id TEXT PRIMARY KEY,
    multipart TEXT NOT NULL DEFAULT '',
    tail TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    touched REAL NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    held_until REAL NOT NULL DEFAULT 0
);
CREATE INDEX object_stages_by_age ON object_stages (touched);
CREATE TABLE object_parts (
    stage TEXT NOT NULL,
    number INTEGER NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (stage, number)
);
"""
"""In ``registry.sql``'s types."""

TRIGGERS: Final = """
CREATE FUNCTION tags_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE repositories SET tags = tags + 1 WHERE id = NEW.repository;
    ELSE
        UPDATE repositories SET tags = tags - 1 WHERE id = OLD.repository;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tags_changed AFTER INSERT OR DELETE ON tags
    FOR EACH ROW EXECUTE FUNCTION tags_changed();
CREATE FUNCTION content_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE repositories SET bytes = bytes + NEW.size WHERE id = NEW.repository;
        RETURN NULL;
    END IF;
    UPDATE repositories SET bytes = bytes - OLD.size WHERE id = OLD.repository;
    INSERT INTO garbage SELECT OLD.digest
        WHERE NOT EXISTS (SELECT 1 FROM blob_links WHERE digest = OLD.digest)
        AND NOT EXISTS (SELECT 1 FROM manifests WHERE digest = OLD.digest)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER content_changed AFTER INSERT OR DELETE ON blob_links
    FOR EACH ROW EXECUTE FUNCTION content_changed();
CREATE TRIGGER content_changed AFTER INSERT OR DELETE ON manifests
    FOR EACH ROW EXECUTE FUNCTION content_changed();
CREATE FUNCTION owner_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'manifests' THEN
        DELETE FROM simple_signatures WHERE repository = OLD.repository AND digest = OLD.digest;
    ELSIF TG_TABLE_NAME = 'repositories' THEN
        DELETE FROM usage WHERE repository = OLD.id;
    ELSE
        DELETE FROM object_parts WHERE stage = OLD.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER owner_removed AFTER DELETE ON manifests
    FOR EACH ROW EXECUTE FUNCTION owner_removed();
CREATE TRIGGER owner_removed AFTER DELETE ON repositories
    FOR EACH ROW EXECUTE FUNCTION owner_removed();
CREATE TRIGGER owner_removed AFTER DELETE ON object_stages
    FOR EACH ROW EXECUTE FUNCTION owner_removed();

-- What SQLite calls so.
CREATE FUNCTION instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE
    AS 'SELECT strpos($1, $2)';

-- When names of a slot changed last (registry.sql.postgres.changes).
CREATE SEQUENCE change_numbers;
CREATE TABLE changes (slot bigint PRIMARY KEY, number bigint NOT NULL);
CREATE INDEX changes_by_number ON changes (number);
-- The last batch that each process committed: how it learns what became of a broken commit.
CREATE TABLE batches (
    writer text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,
    moment bigint NOT NULL
);
-- An unlogged table is empty after a crash, and so after whatever loses commits.
CREATE UNLOGGED TABLE crash_mark (mark text COLLATE "C" NOT NULL);
CREATE TABLE format (version bigint NOT NULL);
"""
"""PostgreSQL's own: run as one script."""
