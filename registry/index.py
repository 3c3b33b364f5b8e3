"""Membership: which repository has which blobs, manifests, tags and referrers. SQLite in WAL mode.

The one source of truth: no request walks storage, and every answer is O(page). Methods are plain
and blocking; the server calls reads from its thread pool and writes through ``Committer``. Reads
use one connection per thread. Write methods run only inside ``apply``, which holds SQLite's write
lock for a batch, gives each write its own savepoint, and returns when all of them are on disk.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from registry import schema
from registry.errors import MissingContentError, WrongSizeError
from registry.generation import Generations
from registry.records import BlobLink, ManifestRow, NewManifest, TagEvent, UploadRow

T = TypeVar("T")

_REPOSITORY = "(SELECT id FROM repositories WHERE name = ?)"


@dataclass(slots=True)
class Write:
    """One write on its way into a batch; a ``durable`` one survives a power loss once answered."""

    repository: str
    operation: Callable[[], Any]
    durable: bool = True
    result: Future[Any] = field(default_factory=Future)


class SqliteIndex:
    """The index of one registry root, shared by its threads and processes."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._path = root / "index.db"
        self._clock = clock
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._writer = self._connect()
        schema.migrate(self._writer, where=str(self._path))
        self.generations = Generations(root / "generations")

    def close(self) -> None:
        """Close every connection; no thread may be inside a method."""
        with self._connections_lock:
            connections, self._connections = self._connections, []
        for connection in reversed(connections):
            connection.close()
        self.generations.close()

    # Transactions

    def apply(self, writes: Sequence[Write]) -> None:
        """Run a batch in one transaction and settle the future of each write.

        A write that raises is undone alone. When the commit itself fails, every write of the batch
        gets that error and none of them happened.
        """
        with self._write_lock:
            outcomes: list[tuple[Write, Any, Exception | None]] = []
            repositories = {write.repository for write in writes}
            try:
                self._begin(durable=any(write.durable for write in writes))
                for name in repositories:
                    self.generations.enter(name)
                try:
                    outcomes = [self._attempt(write) for write in writes]
                    self._writer.execute("COMMIT")
                finally:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    for name in repositories:
                        self.generations.leave(name)
            except Exception as error:  # noqa: BLE001 -- handed to every waiting caller
                outcomes = [(write, None, error) for write in writes]
        for write, value, failure in outcomes:
            if failure is None:
                write.result.set_result(value)
            else:
                write.result.set_exception(failure)

    def write(self, repository: str, operation: Callable[[], T], *, durable: bool = True) -> T:
        """Run one write in a transaction of its own and wait for it."""
        write = Write(repository, operation, durable=durable)
        self.apply([write])
        result: T = write.result.result()
        return result

    # Repositories and blobs

    def has_repository(self, repository: str) -> bool:
        """Whether anything was ever pushed to ``repository``."""
        row = self._one("SELECT 1 FROM repositories WHERE name = ?", repository)
        return row is not None

    def catalog(self, *, last: str, limit: int) -> list[str]:
        """Up to ``limit`` repository names after ``last``, in byte order."""
        sql = "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._all(sql, last, limit)]

    def blob(self, repository: str, digest: str) -> BlobLink | None:
        """The link of ``repository`` to this blob."""
        sql = f"SELECT size FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        row = self._one(sql, repository, digest)
        return None if row is None else BlobLink(digest, row[0])

    def blob_holders(self, digest: str, *, limit: int) -> list[str]:
        """Some repositories that have this blob."""
        sql = (
            "SELECT name FROM blob_links JOIN repositories ON id = repository"
            " WHERE digest = ? LIMIT ?"
        )
        return [name for (name,) in self._all(sql, digest, limit)]

    def link_blob(self, repository: str, digest: str, size: int) -> None:
        """Give ``repository`` a blob whose bytes are durable. Write."""
        self._writer.execute(
            "INSERT INTO blob_links (repository, digest, size, created) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET created = excluded.created",
            (self._repository_id(repository), digest, size, self._now()),
        )

    def mount_blob(self, source: str, repository: str, digest: str) -> bool:
        """Link a blob that ``source`` has; False when it has not. Write."""
        sql = f"SELECT size FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        row = self._writer.execute(sql, (source, digest)).fetchone()
        if row is None:
            return False
        self.link_blob(repository, digest, row[0])
        return True

    def unlink_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from ``repository`` only; False when it had none. Write."""
        sql = f"DELETE FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        return self._writer.execute(sql, (repository, digest)).rowcount > 0

    # Manifests and referrers

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        """The manifest of this digest in ``repository``."""
        sql = (
            "SELECT digest, media_type, size FROM manifests"
            f" WHERE repository = {_REPOSITORY} AND digest = ?"
        )
        row = self._one(sql, repository, digest)
        return None if row is None else ManifestRow(*row)

    def tagged_manifest(self, repository: str, tag: str) -> ManifestRow | None:
        """The manifest that ``tag`` points to."""
        sql = (
            "SELECT m.digest, m.media_type, m.size FROM tags t JOIN manifests m"
            " ON m.repository = t.repository AND m.digest = t.digest"
            f" WHERE t.repository = {_REPOSITORY} AND t.name = ?"
        )
        row = self._one(sql, repository, tag)
        return None if row is None else ManifestRow(*row)

    def put_manifest(
        self, repository: str, manifest: NewManifest, tags: Iterable[str], *, sparse: bool = False
    ) -> None:
        """Record a manifest whose bytes are durable, and point ``tags`` at it. Write.

        Raises:
            MissingContentError: the repository lacks a blob or a child, and the push is not sparse.
            WrongSizeError: content is here with another size than the manifest states.
        """
        key = self._repository_id(repository)
        self._check_content(key, manifest, sparse=sparse)
        self._writer.execute(
            "INSERT INTO manifests (repository, digest, media_type, size, subject, created)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET media_type = excluded.media_type,"
            " created = excluded.created",
            (
                key,
                manifest.digest,
                manifest.media_type,
                manifest.size,
                manifest.subject,
                self._now(),
            ),
        )
        content = [digest for digest, _ in (*manifest.blobs, *manifest.children)]
        self._writer.executemany(
            "INSERT OR IGNORE INTO manifest_references (repository, manifest, target)"
            " VALUES (?, ?, ?)",
            ((key, manifest.digest, target) for target in (*content, *manifest.optional)),
        )
        if manifest.subject is not None:
            self._writer.execute(
                "INSERT OR REPLACE INTO referrers"
                " (repository, subject, digest, artifact_type, descriptor) VALUES (?, ?, ?, ?, ?)",
                (key, manifest.subject, manifest.digest, manifest.artifact_type, manifest.referrer),
            )
        for tag in tags:
            self._move_tag(key, tag, manifest.digest)

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Remove a manifest with all its tags; False when there is none. Write."""
        key = self._known_repository(repository)
        parameters = (key, digest)
        sql = "DELETE FROM manifests WHERE repository = ? AND digest = ?"
        if self._writer.execute(sql, parameters).rowcount == 0:
            return False
        self._writer.execute(
            "INSERT INTO tag_history (repository, name, digest, moment)"
            " SELECT repository, name, NULL, ? FROM tags WHERE repository = ? AND digest = ?",
            (self._now(), *parameters),
        )
        for statement in (
            "DELETE FROM tags WHERE repository = ? AND digest = ?",
            "DELETE FROM manifest_references WHERE repository = ? AND manifest = ?",
            "DELETE FROM referrers WHERE repository = ? AND digest = ?",
        ):
            self._writer.execute(statement, parameters)
        return True

    def referrers(
        self, repository: str, subject: str, *, artifact_type: str | None, last: str, limit: int
    ) -> list[tuple[str, bytes]]:
        """Up to ``limit`` (digest, descriptor JSON) after ``last``, ordered by digest."""
        chosen = "" if artifact_type is None else " AND artifact_type = ?"
        sql = (
            f"SELECT digest, descriptor FROM referrers WHERE repository = {_REPOSITORY}"
            f" AND subject = ?{chosen} AND digest > ? ORDER BY digest LIMIT ?"
        )
        types = () if artifact_type is None else (artifact_type,)
        return self._all(sql, repository, subject, *types, last, limit)

    # Tags

    def tags(self, repository: str, *, last: str, limit: int) -> list[str] | None:
        """Up to ``limit`` tags after ``last`` in byte order; None: no such repository."""
        sql = (
            f"SELECT name FROM tags WHERE repository = {_REPOSITORY} AND name > ?"
            " ORDER BY name LIMIT ?"
        )
        names = [name for (name,) in self._all(sql, repository, last, limit)]
        return names if names or self.has_repository(repository) else None

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Remove a tag and nothing else; False when there is none. Write."""
        key = self._known_repository(repository)
        sql = "DELETE FROM tags WHERE repository = ? AND name = ?"
        if self._writer.execute(sql, (key, tag)).rowcount == 0:
            return False
        self._remember(key, tag, None)
        return True

    def tag_history(self, repository: str, tag: str, *, limit: int) -> list[TagEvent]:
        """The latest moves of a tag, newest first."""
        sql = (
            f"SELECT digest, moment FROM tag_history WHERE repository = {_REPOSITORY}"
            " AND name = ? ORDER BY id DESC LIMIT ?"
        )
        return [TagEvent(*row) for row in self._all(sql, repository, tag, limit)]

    # Uploads

    def create_upload(self, upload: UploadRow) -> None:
        """Remember a new session. Write."""
        self._writer.execute(
            "INSERT INTO uploads (id, repository, algorithm, created) VALUES (?, ?, ?, ?)",
            (upload.id, upload.repository, upload.algorithm, self._now()),
        )

    def upload(self, upload_id: str) -> UploadRow | None:
        """The session of this id."""
        sql = "SELECT id, repository, algorithm FROM uploads WHERE id = ?"
        row = self._one(sql, upload_id)
        return None if row is None else UploadRow(*row)

    def delete_upload(self, upload_id: str) -> bool:
        """End a session; False when it had already ended. Write."""
        return self._writer.execute("DELETE FROM uploads WHERE id = ?", (upload_id,)).rowcount > 0

    def old_uploads(self, *, before: int, limit: int) -> list[UploadRow]:
        """Sessions begun before that moment, oldest first."""
        sql = (
            "SELECT id, repository, algorithm FROM uploads WHERE created < ?"
            " ORDER BY created LIMIT ?"
        )
        return [UploadRow(*row) for row in self._all(sql, before, limit)]

    # Inside

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        schema.prepare(connection)
        with self._connections_lock:
            self._connections.append(connection)
        return connection

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _one(self, sql: str, *parameters: object) -> Any:
        return self._reader().execute(sql, parameters).fetchone()

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        return self._reader().execute(sql, parameters).fetchall()

    def _begin(self, *, durable: bool) -> None:
        # A lost upload session costs the client a retry, so it need not wait for the disk.
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._writer.execute("BEGIN IMMEDIATE")

    def _attempt(self, write: Write) -> tuple[Write, Any, Exception | None]:
        self._writer.execute("SAVEPOINT one")
        try:
            value = write.operation()
        except Exception as error:  # noqa: BLE001 -- handed to the caller that waits for this write
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            return write, None, error
        self._writer.execute("RELEASE one")
        return write, value, None

    def _repository_id(self, name: str) -> int:
        key = self._known_repository(name)
        if key is not None:
            return key
        cursor = self._writer.execute(
            "INSERT INTO repositories (name, created) VALUES (?, ?)", (name, self._now())
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _known_repository(self, name: str) -> int | None:
        row = self._writer.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def _check_content(self, key: int, manifest: NewManifest, *, sparse: bool) -> None:
        missing: list[str] = []
        for table, content in (("blob_links", manifest.blobs), ("manifests", manifest.children)):
            sql = f"SELECT size FROM {table} WHERE repository = ? AND digest = ?"
            for digest, stated in content:
                row = self._writer.execute(sql, (key, digest)).fetchone()
                if row is None:
                    missing.append(digest)
                elif row[0] != stated:
                    raise WrongSizeError(digest, stated, row[0])
        if missing and not sparse:
            raise MissingContentError(missing)

    def _move_tag(self, key: int, tag: str, digest: str) -> None:
        sql = "SELECT digest FROM tags WHERE repository = ? AND name = ?"
        row = self._writer.execute(sql, (key, tag)).fetchone()
        self._writer.execute(
            "INSERT INTO tags (repository, name, digest, updated) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET digest = excluded.digest, updated = excluded.updated",
            (key, tag, digest, self._now()),
        )
        if row is None or row[0] != digest:
            self._remember(key, tag, digest)

    def _remember(self, key: int | None, tag: str, digest: str | None) -> None:
        self._writer.execute(
            "INSERT INTO tag_history (repository, name, digest, moment) VALUES (?, ?, ?, ?)",
            (key, tag, digest, self._now()),
        )

    def _now(self) -> int:
        return int(self._clock())
