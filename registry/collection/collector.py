"""One collection: uploads that rest, then rows of each repository, then bytes without a row.

It works in short steps and may stop after each; what is removed stays removed, and the name of the
last finished repository is remembered, so the next collection goes on there. A lock file admits one
collection at a time, in whichever process. Between two writes it sleeps for as long as the last one
took, so that clients' writes come through.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from registry.collection import leases
from registry.collection.files import Files
from registry.collection.journal_base import rebase
from registry.collection.marking import Cutoffs, Marking
from registry.collection.report import CollectionReport, Progress
from registry.collection.rows import Rows
from registry.collection.settings import CollectionSettings
from registry.collection.uploads import expire
from registry.config import RegistryConfig
from registry.database import NO_REPOSITORY
from registry.election import Election, FileElection
from registry.errors import CollectionBusyError
from registry.index import SqlIndex
from registry.protocols import Collectable
from registry.retention import Immutability, Retention, TagRow
from registry.rules import repository_matcher
from registry.sql.errors import DatabaseLostError

T = TypeVar("T")

_MANIFESTS: Final = 100
_BLOBS: Final = 500
"""Rows of one write: a few milliseconds under the lock that clients wait for."""

OFFICE: Final = "collection"
CURSOR: Final = "collection.cursor"
LAST: Final = "collection.last"
_KEEP_ALL: Final = -1


class Collector:
    """Collects in one store under one set of rules."""

    def __init__(
        self,
        index: SqlIndex,
        storage: Collectable,
        settings: CollectionSettings,
        retention: Retention,
        *,
        upload_expiry: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._index = index
        self._storage = storage
        self.settings = settings
        self._retention = retention
        self._upload_expiry = upload_expiry
        self._untagged = [(repository_matcher(r.repositories), r.after) for r in settings.untagged]
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, config: RegistryConfig, index: SqlIndex, storage: Collectable) -> Self:
        """The collector of a configured registry."""
        retention = Retention(config.retention, Immutability(config.immutable))
        expiry = config.limits.upload_expiry
        return cls(index, storage, config.collection, retention, upload_expiry=expiry)

    def reconfigured(self, config: RegistryConfig) -> Self:
        """The same store under other rules."""
        return self.of(config, self._index, self._storage)

    def is_due(self, now: float) -> bool:
        """Whether the schedule asks for a collection, or the last one could not finish."""
        last = self._index.fact(LAST)
        if self.settings.interval is None:
            return False
        return (
            last is None
            or not last["finished"]
            or not last["moment"] <= now < last["moment"] + self.settings.interval
        )

    def run(
        self,
        *,
        lease: float | None = None,
        budget: float | None = None,
        dry_run: bool = False,
        progress: Callable[[Progress], object] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> CollectionReport:
        """Collect; blocks.

        ``lease`` replaces the configured one, ``budget`` is in seconds of wall time, and ``stop``
        is asked after each step. ``dry_run`` reports what a run to the end would remove.

        Raises:
            CollectionBusyError: another process or thread collects.
        """
        started = time.monotonic()
        with self._only_one():
            leases.note_boot(self._index, self._clock())
            run = _Run(self, self.settings.lease if lease is None else lease, dry_run=dry_run)
            try:
                finished = True
                for step in run.steps():
                    progress(step)
                    spent = time.monotonic() - started
                    if stop() or (budget is not None and spent >= budget):
                        finished = False
                        break
                if finished and not dry_run:
                    rebase(self._index, run.marking.connection)
            finally:
                run.marking.close()
            seconds = round(time.monotonic() - started, 3)
            report = dataclasses.replace(run.report, finished=finished, seconds=seconds)
            if not dry_run:
                self._conclude(report)
        return report

    def _only_one(self) -> AbstractContextManager[None]:
        return held(self._index.offices.stand_for(OFFICE), self._index.where)

    def _conclude(self, report: CollectionReport) -> None:
        last = {"moment": int(self._clock()), **report.as_json()}

        def remember() -> None:
            self._index.set_fact(LAST, last)
            if report.finished:
                self._index.set_fact(CURSOR, None)

        self._index.write(NO_REPOSITORY, remember)


class _Run:
    """One run: cutoffs fixed at its beginning, figures that grow."""

    def __init__(self, collector: Collector, lease: float, *, dry_run: bool) -> None:
        self._of = collector
        self._index = collector._index
        self._dry_run = dry_run
        self._now = collector._clock()
        # Without a lease even what was touched in this second may go.
        self._cutoff = leases.cutoff(self._now, lease) if lease else int(self._now) + 1
        boot = self._index.fact(leases.BOOT)
        crashed_lately = boot is not None and boot["moment"] >= self._cutoff
        self._leased = 0 if crashed_lately else self._cutoff
        self._mark = self._index.crash_mark()
        self.marking = Marking(self._index)
        self.report = CollectionReport(dry_run=dry_run)

    def steps(self) -> Iterator[Progress]:
        """Do it; stopping between two values is safe."""
        yield self._expire_uploads()
        yield from self._repositories()
        files = Files(self._index, self._of._storage, before=self._cutoff)
        yield from self._orphans(files)
        if self._dry_run:
            self._count_files(files)
            return
        total = self._index.reader().execute("SELECT COUNT(*) FROM garbage").fetchone()[0]
        self._of._storage.sweep_stages()
        for removed, freed in files.reclaim():
            self._add(files=removed, bytes=freed)
            yield Progress("files", self.report.files, total)

    def _expire_uploads(self) -> Progress:
        before = self._now - self._of._upload_expiry
        ended = expire(self._index, self._of._storage, before=before, dry_run=self._dry_run)
        self._add(uploads=ended)
        return Progress("uploads", ended, ended)

    def _repositories(self) -> Iterator[Progress]:
        reader = self._index.reader()
        cursor = None if self._dry_run else self._index.fact(CURSOR)
        last = "" if cursor is None else str(cursor)
        (total,) = reader.execute(
            "SELECT COUNT(*) FROM repositories WHERE name > ?", (last,)
        ).fetchone()
        sql = "SELECT id, name FROM repositories WHERE name > ? ORDER BY name LIMIT 1"
        while row := reader.execute(sql, (last,)).fetchone():
            key, last = row
            yield from self._repository(key, last, total)
            self._add(repositories=1)
            if not self._dry_run:
                remember = partial(self._index.set_fact, CURSOR, last)
                self._write(NO_REPOSITORY, remember)
            yield Progress("repositories", self.report.repositories, total, last)

    def _repository(self, key: int, name: str, total: int) -> Iterator[Progress]:
        step = Progress("repositories", self.report.repositories, total, name)
        rows = Rows(self._index, key, name)
        marking = self.marking
        marking.forget()
        self._retain(key, name, rows)
        marking.mark(key, self._cutoffs(name))
        if self._dry_run:
            manifests, blobs = marking.counts()
            self._add(manifests=manifests, blobs=blobs)
            self._count_empty(key, name, manifests, blobs)
            marking.doom()
            return
        for digests in marking.manifests(key, batch=_MANIFESTS):
            remove = partial(rows.remove_manifests, digests, leased=self._leased)
            self._add(manifests=self._write(name, remove))
            yield step
        for digests in marking.blobs(batch=_BLOBS):
            remove = partial(rows.remove_blobs, digests, leased=self._leased)
            self._add(blobs=self._write(name, remove))
            yield step
        self._finish_repository(key, name, rows)

    def _retain(self, key: int, name: str, rows: Rows) -> None:
        if not self._of._retention.concerns(name):
            return
        tags = self._tags(key)
        doomed = set(self._of._retention.doomed(name, tags, now=self._now))
        chosen = [tag for tag in tags if tag.name in doomed]
        if self._dry_run:
            self._add(tags=len(chosen))
            if not self._of.settings.undo:
                self.marking.drop_tags([tag.name for tag in chosen])
            return
        for start in range(0, len(chosen), _BLOBS):
            remove = partial(rows.remove_tags, chosen[start : start + _BLOBS])
            self._add(tags=self._write(name, remove))

    def _tags(self, key: int) -> list[TagRow]:
        sql = (
            "SELECT t.name, t.updated, m.created,"
            " CASE WHEN m.leased > m.created THEN m.leased ELSE m.created END, EXISTS"
            " (SELECT 1 FROM manifest_references r WHERE r.repository = t.repository"
            " AND r.target = t.digest), COALESCE((SELECT MAX(h.id) FROM tag_history h"
            " WHERE h.repository = t.repository AND h.name = t.name), 0)"
            " FROM tags t JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest"
            " WHERE t.repository = ?"
        )
        rows = self.marking.connection.execute(sql, (key,))
        return [
            TagRow(name, moved, pushed, used, bool(needed), turn)
            for name, moved, pushed, used, needed, turn in rows
        ]

    def _cutoffs(self, name: str) -> Cutoffs:
        settings = self._of.settings
        ages = [after for matches, after in self._of._untagged if matches(name)]
        now = int(self._now)
        return Cutoffs(
            leased=self._leased,
            undo=now - int(settings.undo) if settings.undo else now + 1,
            untagged=now - int(ages[0]) if ages else _KEEP_ALL,
            dangling=now - int(settings.dangling),
        )

    def _finish_repository(self, key: int, name: str, rows: Rows) -> None:
        reader = self._index.reader()
        forgotten = int(self._now - self._of.settings.history)
        sql = "SELECT 1 FROM tag_history WHERE repository = ? AND moment < ? LIMIT 1"
        if reader.execute(sql, (key, forgotten)).fetchone():
            self._write(NO_REPOSITORY, partial(rows.forget_moves, before=forgotten))
        if self._is_empty(key, name, 0, 0):
            remove = partial(rows.remove_repository, before=self._leased)
            self._add(empty_repositories=self._write(name, remove))

    def _is_empty(self, key: int, name: str, manifests: int, blobs: int) -> bool:
        """Whether nothing is left when so many rows are gone."""
        sql = (
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM manifests WHERE repository = ?1 LIMIT ?2)"
            " m) = ?2 - 1 AND (SELECT COUNT(*) FROM (SELECT 1 FROM blob_links"
            " WHERE repository = ?1 LIMIT ?3) b) = ?3 - 1"
            " AND NOT EXISTS (SELECT 1 FROM uploads WHERE repository = ?4)"
            " AND (SELECT created FROM repositories WHERE id = ?1) < ?5"
        )
        parameters = (key, manifests + 1, blobs + 1, name, self._leased)
        return bool(self.marking.connection.execute(sql, parameters).fetchone()[0])

    def _count_empty(self, key: int, name: str, manifests: int, blobs: int) -> None:
        self._add(empty_repositories=self._is_empty(key, name, manifests, blobs))

    def _orphans(self, files: Files) -> Iterator[Progress]:
        seen = 0
        for digests in files.orphans(self.marking):
            seen += len(digests)
            if digests and self._dry_run:
                self._add(files=len(digests), bytes=sum(files.size(d) or 0 for d in digests))
            elif digests:
                self._write(NO_REPOSITORY, partial(files.add_garbage, digests))
            yield Progress("orphans", seen, 0)

    def _count_files(self, files: Files) -> None:
        for digest in self.marking.doomed():
            size = files.size(digest)
            if size is not None:
                self._add(files=1, bytes=size)

    def _write(self, name: str, operation: Callable[[], T]) -> T:
        started = time.monotonic()
        result = self._index.write(name, partial(self._unless_crashed, operation), durable=False)
        self._of._sleep(time.monotonic() - started)
        return result

    def _unless_crashed(self, operation: Callable[[], T]) -> T:
        """Do it, if no lease can have been lost since this run began. Write."""
        if self._index.crash_mark() != self._mark:
            raise DatabaseLostError("the database crashed, so this collection ends; another comes")
        return operation()

    def _add(self, **figures: Any) -> None:
        grown = {name: getattr(self.report, name) + figures[name] for name in figures}
        self.report = dataclasses.replace(self.report, **grown)


def only_one(path: Path) -> AbstractContextManager[None]:
    """Keep collections away from a store whose index is not open; ``path`` is their lock file."""
    return held(FileElection(path), str(path))


@contextmanager
def held(election: Election, where: str) -> Iterator[None]:
    """Be the one who collects; that ends with the process, however it ends.

    Raises:
        CollectionBusyError: somebody else is.
    """
    try:
        if not election.holds():
            raise CollectionBusyError(
                "another collection is under way",
                where=where,
                fix="wait for its end; the server collects by itself as `collection.interval` says",
            )
        yield
    finally:
        election.close()
