"""Membership: which repository has which blobs, manifests, tags and referrers.

The one source of truth: no request walks storage, and every answer is O(page). Methods are plain
and blocking; the server calls reads from its thread pool and writes through ``Committer``. Methods
marked "Write" run only inside ``apply``, where a guard may still refuse them (``registry.guard``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from images.digest import Digest
from registry.database import Write
from registry.errors import MissingContentError, WrongSizeError
from registry.guard import Guard, NoGuard, Usage
from registry.outbox import Change, Outbox, drop_events
from registry.records import BlobLink, ManifestRow, NewManifest, TagEvent, UploadRow
from registry.simple_signatures import ARTIFACT_TYPE, SimpleSignature, SimpleSignatureRows
from registry.sql.connection import Connection
from registry.sql.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from registry.events.pulls import Pull

__all__ = ["SqlIndex", "SqliteIndex", "Write"]

_REPOSITORY: Final = "(SELECT id FROM repositories WHERE name = ?)"
_USED: Final = "CASE WHEN m.leased > m.created THEN m.leased ELSE m.created END"
_CHECKED: Final = 500
"""Digests that one statement looks for."""


class SqlIndex(SimpleSignatureRows):
    """The index of one registry, in whichever database; a subclass says in which."""

    def _keep_rules(
        self, guard: Guard | None, outbox: Outbox | None, clock: Callable[[], float]
    ) -> None:
        """Judge writes by ``guard``, tell ``outbox`` of them; comes with the database."""
        self._guard = NoGuard() if guard is None else guard
        self._outbox = Outbox() if outbox is None else outbox
        self._clock = clock

    def set_guard(self, guard: Guard) -> None:
        """Judge writes by other rules from the next one on."""
        self._guard = guard

    def set_followed(self, *, followed: bool) -> None:
        """Write changes down for followers, or do not, from the next one on."""
        self._outbox.follow(followed=followed)

    # Repositories and blobs

    def has_repository(self, repository: str) -> bool:
        """Whether anything was ever pushed to ``repository``."""
        row = self._one("SELECT 1 FROM repositories WHERE name = ?", repository)
        return row is not None

    def catalog(self, *, last: str, limit: int) -> list[str]:
        """Up to ``limit`` repository names after ``last``, in byte order."""
        sql = "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._all(sql, last, limit)]

    def room(self, repository: str) -> int | None:
        """How many bytes the guard would still let ``repository`` grow; None for any number."""
        row = self._one("SELECT bytes, tags FROM repositories WHERE name = ?", repository)
        usage = Usage(0, 0) if row is None else Usage(*row)
        return self._guard.room(repository, usage, partial(self._usages, reader=self.reader()))

    def blob(self, repository: str, digest: str) -> BlobLink | None:
        """The link of ``repository`` to this blob."""
        sql = f"SELECT size, leased FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        row = self._one(sql, repository, digest)
        return None if row is None else BlobLink(digest, *row)

    def blob_holders(self, digest: str, *, limit: int) -> list[str]:
        """Some repositories that have this blob."""
        sql = (
            "SELECT name FROM blob_links JOIN repositories ON id = repository"
            " WHERE digest = ? LIMIT ?"
        )
        return [name for (name,) in self._all(sql, digest, limit)]

    def link_blob(self, repository: str, digest: str, size: int) -> None:
        """Give ``repository`` a blob whose bytes are durable, under a fresh lease. Write.

        Raises whatever the guard refuses with.
        """
        key, before = self._repository(repository)
        self.writer.execute(
            "INSERT INTO blob_links (repository, digest, size, leased) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repository, digest) DO UPDATE SET leased = excluded.leased",
            (key, digest, size, self._now()),
        )
        self._guard.content(digest)
        self._judge_growth(key, repository, before)

    def renew_blob(self, repository: str, digest: str) -> bool:
        """Begin the lease of a blob anew; False when ``repository`` has it no more. Write."""
        sql = f"UPDATE blob_links SET leased = ? WHERE repository = {_REPOSITORY} AND digest = ?"
        return self.writer.execute(sql, (self._now(), repository, digest)).rowcount > 0

    def mount_blob(self, source: str, repository: str, digest: str) -> bool:
        """Link a blob that ``source`` has; False when it has not. Write."""
        sql = f"SELECT size FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        row = self.writer.execute(sql, (source, digest)).fetchone()
        if row is None:
            return False
        self.link_blob(repository, digest, row[0])
        return True

    def unlink_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from ``repository`` only; False when it had none. Write."""
        sql = f"DELETE FROM blob_links WHERE repository = {_REPOSITORY} AND digest = ?"
        return self.writer.execute(sql, (repository, digest)).rowcount > 0

    # Manifests and referrers

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        """The manifest of this digest in ``repository``."""
        sql = (
            f"SELECT digest, media_type, size, {_USED} FROM manifests m"
            f" WHERE repository = {_REPOSITORY} AND digest = ?"
        )
        row = self._one(sql, repository, digest)
        return None if row is None else ManifestRow(*row)

    def tagged_manifest(self, repository: str, tag: str) -> ManifestRow | None:
        """The manifest that ``tag`` points to."""
        sql = (
            f"SELECT m.digest, m.media_type, m.size, {_USED}"
            " FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest"
            f" WHERE t.repository = {_REPOSITORY} AND t.name = ?"
        )
        row = self._one(sql, repository, tag)
        return None if row is None else ManifestRow(*row)

    def current(self, repository: str, reference: str) -> str | None:
        """The digest that a tag points to, or that a manifest has; None for neither. Write.

        Sees what this transaction wrote.
        """
        table, column = ("manifests", "digest") if ":" in reference else ("tags", "name")
        sql = f"SELECT digest FROM {table} WHERE repository = {_REPOSITORY} AND {column} = ?"
        row = self.writer.execute(sql, (repository, reference)).fetchone()
        return None if row is None else str(row[0])

    def put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Iterable[str],
        *,
        sparse: bool = False,
        actor: str = "",
    ) -> None:
        """Record a manifest whose bytes are durable, and point ``tags`` at it. Write.

        Raises:
            MissingContentError: the repository lacks a blob or a child, and the push is not sparse.
            WrongSizeError: content is here with another size than the manifest states.
        """
        key, before = self._repository(repository)
        self._check_content(key, manifest, sparse=sparse)
        self.writer.execute(
            "INSERT INTO manifests (repository, digest, media_type, size, subject, created)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type,"
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
        self._guard.content(manifest.digest)
        self.journal.say("manifest", repository, manifest.digest, manifest.media_type, self._now())
        content = [digest for digest, _ in (*manifest.blobs, *manifest.children)]
        self.writer.executemany(
            "INSERT INTO manifest_references (repository, manifest, target)"
            " VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            ((key, manifest.digest, target) for target in (*content, *manifest.optional)),
        )
        if manifest.subject is not None:
            self.writer.execute(
                "INSERT INTO referrers"
                " (repository, subject, digest, artifact_type, descriptor) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (repository, subject, digest) DO UPDATE SET"
                " artifact_type = excluded.artifact_type, descriptor = excluded.descriptor",
                (key, manifest.subject, manifest.digest, manifest.artifact_type, manifest.referrer),
            )
        self._note(
            Change.MANIFEST,
            repository,
            actor=actor,
            digest=manifest.digest,
            previous=manifest.subject,
            artifact_type=manifest.artifact_type,
        )
        for tag in tags:
            self._move_tag(key, repository, tag, manifest.digest, actor=actor)
        self._judge_growth(key, repository, before)

    def renew_manifest(self, repository: str, digest: str) -> bool:
        """Begin the lease of a manifest anew; False when it is gone. Write."""
        sql = f"UPDATE manifests SET leased = ? WHERE repository = {_REPOSITORY} AND digest = ?"
        return self.writer.execute(sql, (self._now(), repository, digest)).rowcount > 0

    def delete_manifest(self, repository: str, digest: str, *, actor: str = "") -> bool:
        """Remove a manifest with all its tags; False when there is none. Write."""
        key = self._known_repository(repository)
        parameters = (key, digest)
        named = "SELECT name FROM tags WHERE repository = ? AND digest = ?"
        for (tag,) in self.writer.execute(named, parameters).fetchall():
            self._guard.tag(repository, tag, digest, None)
            self._remember(key, tag, digest, None, actor=actor)
            self._note(Change.UNTAG, repository, actor=actor, tag=tag, previous=digest)
        sql = "DELETE FROM manifests WHERE repository = ? AND digest = ?"
        if self.writer.execute(sql, parameters).rowcount == 0:
            return False
        self.journal.say("unmanifest", repository, digest)
        self._note(Change.DELETE, repository, actor=actor, digest=digest)
        for statement in (
            "DELETE FROM tags WHERE repository = ? AND digest = ?",
            "DELETE FROM manifest_references WHERE repository = ? AND manifest = ?",
            "DELETE FROM referrers WHERE repository = ? AND digest = ?",
        ):
            self.writer.execute(statement, parameters)
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

    def delete_tag(self, repository: str, tag: str, *, actor: str = "") -> bool:
        """Remove a tag and nothing else; False when there is none. Write."""
        key = self._known_repository(repository)
        digest = self._tagged(key, tag)
        if digest is None:
            return False
        self._guard.tag(repository, tag, digest, None)
        self._remember(key, tag, digest, None, actor=actor)
        sql = "DELETE FROM tags WHERE repository = ? AND name = ?"
        self.writer.execute(sql, (key, tag))
        self.journal.say("untag", repository, tag)
        self._note(Change.UNTAG, repository, actor=actor, tag=tag, previous=digest)
        return True

    def retag(self, repository: str, tag: str, digest: str) -> bool:
        """Point a tag at a manifest that is here; False when it is not. Write."""
        key = self._known_repository(repository)
        if key is None or not self.renew_manifest(repository, digest):
            return False
        before = self._usage(key)
        self._move_tag(key, repository, tag, digest)
        self._judge_growth(key, repository, before)
        return True

    def tag_history(self, repository: str, tag: str, *, limit: int) -> list[TagEvent]:
        """The latest moves of a tag, newest first."""
        sql = (
            "SELECT digest, moment, previous, media_type, actor FROM tag_history"
            f" WHERE repository = {_REPOSITORY} AND name = ? ORDER BY id DESC LIMIT ?"
        )
        return [TagEvent(*row) for row in self._all(sql, repository, tag, limit)]

    # Uploads

    def create_upload(self, upload: UploadRow) -> None:
        """Remember a new session. Write."""
        self.writer.execute(
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
        return self.writer.execute("DELETE FROM uploads WHERE id = ?", (upload_id,)).rowcount > 0

    def old_uploads(self, *, before: int, limit: int) -> list[UploadRow]:
        """Sessions begun before that moment, oldest first."""
        sql = (
            "SELECT id, repository, algorithm FROM uploads WHERE created < ?"
            " ORDER BY created LIMIT ?"
        )
        return [UploadRow(*row) for row in self._all(sql, before, limit)]

    # Simple signatures

    def add_simple_signature(
        self, repository: str, digest: str, signature: SimpleSignature, *, actor: str = ""
    ) -> bool:
        """See ``SimpleSignatureRows``; followers hear of a new one by the digest of its bytes."""
        if not super().add_simple_signature(repository, digest, signature):
            return False
        self._note(
            Change.MANIFEST,
            repository,
            actor=actor,
            digest=str(Digest.of(signature.content)),
            previous=digest,
            artifact_type=ARTIFACT_TYPE,
        )
        return True

    # Events

    def note_pulls(self, pulls: Iterable[Pull]) -> None:
        """Tell followers what was pulled. Write."""
        for pull in pulls:
            facts = {"actor": pull.actor, "digest": pull.digest, "tag": pull.tag}
            self._note(Change.PULL, pull.repository, **facts)

    def drop_events(self, *, through: int) -> int:
        """Forget the events that every follower took; returns how many. Write."""
        return drop_events(self.writer, through=through)

    # Inside

    def _one(self, sql: str, *parameters: object) -> Any:
        return self.reader().execute(sql, parameters).fetchone()

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        return self.reader().execute(sql, parameters).fetchall()

    def _repository(self, name: str) -> tuple[int, Usage]:
        """Its key, and what it takes before the write; a new one takes nothing."""
        sql = "SELECT id, bytes, tags FROM repositories WHERE name = ?"
        row = self.writer.execute(sql, (name,)).fetchone()
        if row is not None:
            return int(row[0]), Usage(row[1], row[2])
        sql = "INSERT INTO repositories (name, created) VALUES (?, ?) RETURNING id"
        return int(self.writer.execute(sql, (name, self._now())).fetchone()[0]), Usage(0, 0)

    def _judge_growth(self, key: int, repository: str, before: Usage) -> None:
        if self._guard.limits:
            self._guard.growth(repository, before, self._usage(key), self._usages)

    def _known_repository(self, name: str) -> int | None:
        row = self.writer.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def _check_content(self, key: int, manifest: NewManifest, *, sparse: bool) -> None:
        missing: list[str] = []
        for table, content in (("blob_links", manifest.blobs), ("manifests", manifest.children)):
            sizes = self._sizes(table, key, [digest for digest, _ in content])
            for digest, stated in content:
                size = sizes.get(digest)
                if size is None:
                    missing.append(digest)
                elif size != stated:
                    raise WrongSizeError(digest, stated, size)
        if missing and not sparse:
            raise MissingContentError(missing)

    def _sizes(self, table: str, key: int, digests: Sequence[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for start in range(0, len(digests), _CHECKED):
            page = digests[start : start + _CHECKED]
            marks = ", ".join("?" * len(page))
            sql = f"SELECT digest, size FROM {table} WHERE repository = ? AND digest IN ({marks})"
            sizes.update(self.writer.execute(sql, (key, *page)).fetchall())
        return sizes

    def _usage(self, key: int) -> Usage:
        sql = "SELECT bytes, tags FROM repositories WHERE id = ?"
        return Usage(*self.writer.execute(sql, (key,)).fetchone())

    def _usages(self, prefix: str, *, reader: Connection | None = None) -> list[tuple[str, Usage]]:
        # The highest code point follows every character that a name can have.
        sql = "SELECT name, bytes, tags FROM repositories WHERE name >= ? AND name < ?"
        connection = self.writer if reader is None else reader
        rows = connection.execute(sql, (prefix, prefix + "\U0010ffff"))
        return [(name, Usage(size, tags)) for name, size, tags in rows]

    def _tagged(self, key: int | None, tag: str) -> str | None:
        sql = "SELECT digest FROM tags WHERE repository = ? AND name = ?"
        row = self.writer.execute(sql, (key, tag)).fetchone()
        return None if row is None else str(row[0])

    def _move_tag(
        self, key: int, repository: str, tag: str, digest: str, *, actor: str = ""
    ) -> None:
        previous = self._tagged(key, tag)
        self._guard.tag(repository, tag, previous, digest)
        self.writer.execute(
            "INSERT INTO tags (repository, name, digest, updated) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest,"
            " updated = excluded.updated",
            (key, tag, digest, self._now()),
        )
        if previous != digest:
            self._remember(key, tag, previous, digest, actor=actor)
            self.journal.say("tag", repository, tag, digest, self._now())
            self._note(
                Change.TAG, repository, actor=actor, digest=digest, tag=tag, previous=previous
            )

    def _remember(
        self, key: int | None, tag: str, previous: str | None, now: str | None, *, actor: str
    ) -> None:
        self.writer.execute(
            "INSERT INTO tag_history"
            " (repository, name, digest, moment, previous, actor, media_type)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6,"
            " (SELECT media_type FROM manifests WHERE repository = ?1 AND digest = ?5))",
            (key, tag, now, self._now(), previous, actor),
        )

    def _note(self, change: Change, repository: str, **facts: Any) -> None:
        self._outbox.note(self.writer, change, repository, moment=self._now(), **facts)

    def _now(self) -> int:
        return int(self._clock())


class SqliteIndex(SqlIndex, SqliteDatabase):
    """The index of one machine, shared by its threads and processes."""

    def __init__(
        self,
        root: Path,
        *,
        guard: Guard | None = None,
        outbox: Outbox | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(root)
        self._keep_rules(guard, outbox, clock)
