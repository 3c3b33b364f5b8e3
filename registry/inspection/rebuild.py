"""A new index from the blobs, and from the journal that says what blobs cannot: names.

Manifests are read and verified; the blobs they name are linked where their bytes are there. Not
restored are blobs that no manifest names (a client pushes them again), open upload sessions, the
history of tags, and the last lines of a journal that a power cut took. Manifests that the journal
does not know can be gathered in a repository of their own. Everything gets a fresh lease. Blobs in
a bucket are found by listing it: the name of an object states the digest.

The index is made beside the old one, which is kept under another name; nobody may use the store
meanwhile.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from images.digest import Digest
from images.errors import ImagesError
from registry import schema
from registry.database import NO_REPOSITORY
from registry.errors import ApiError, RegistryStartError
from registry.index import SqliteIndex
from registry.journal import FACT, entries, last_number, log_path
from registry.manifests import examine
from registry.protocols import Storage
from registry.records import NewManifest
from registry.settings import MANIFEST_LIMIT
from registry.sql.sqlite import locked_for_rebuild
from registry.storage import PLACE, sync_directory

_ONLY_LOG: Final = 1
_OPENING: Final = (b"{", b" ", b"\n", b"\t", b"\r")


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What the new index has, and what could not be restored."""

    repositories: int
    manifests: int
    tags: int
    blobs: int
    lost_manifests: tuple[str, ...]
    unnamed_manifests: int
    replaced: str

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class _Names:
    """What the journal adds up to: media types by manifest, digests by tag."""

    manifests: Mapping[tuple[str, str], str]
    tags: Mapping[tuple[str, str], str]


def rebuild(
    root: Path,
    storage: Storage,
    *,
    gather: str | None = None,
    clock: Callable[[], float] = time.time,
) -> RebuildReport:
    """Replace the index under ``root``; blocks.

    ``gather`` names the repository that gets manifests which the journal does not know.

    Raises:
        StoreBusyError: a server or another command has the index open.
        IndexFormatError: a newer release wrote the index that is there.
        RegistryStartError: that index tells of another place of the bytes than ``storage`` is.
    """
    with locked_for_rebuild(root):
        _examine(root / "index.db", storage.place)
        names = _read_journal(root / "journal")
        fresh = root / "rebuilding"
        shutil.rmtree(fresh, ignore_errors=True)
        index = SqliteIndex(fresh, clock=clock)
        try:
            storage.attach(index)
            storage.recover()
            lost = [
                f"{repository}@{digest}"
                for (repository, digest), media_type in names.manifests.items()
                if not _restore(index, storage, repository, digest, media_type)
            ]
            unnamed = _unnamed(index, storage, names, gather)
            tags = _restore_tags(index, names)
            report = _count(index, tags, lost, unnamed)
            number = last_number(root / "journal") + 1
            index.write(NO_REPOSITORY, partial(index.set_fact, FACT, number))
        finally:
            index.close()
        replaced = _swap(root, fresh, int(clock()), number)
    return dataclasses.replace(report, replaced=replaced)


def _examine(index: Path, place: str | None) -> None:
    """Refuse to replace an index that this release does not know, or that has its bytes elsewhere.

    What cannot be read is what this is for.
    """
    if not index.exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as it:
        schema.read_version(it, where=str(index))
        row = it.execute("SELECT value FROM facts WHERE name = ?", (PLACE,)).fetchone()
        kept = None if row is None else orjson.loads(row[0])
        if kept != place:
            raise RegistryStartError(
                f"the blobs of this store are in {kept or 'files'}, not in {place or 'files'}",
                where=str(index),
                fix="correct [storage]; or move the index away, if it is not of this store",
            )


def _read_journal(folder: Path) -> _Names:
    manifests: dict[tuple[str, str], tuple[int, str]] = {}
    tags: dict[tuple[str, str], tuple[int, str]] = {}
    for number, entry in enumerate(entries(folder)):
        match entry:
            case ["manifest", str(repository), str(digest), str(media_type), _]:
                since = manifests.get((repository, digest), (number, ""))[0]
                manifests[repository, digest] = since, media_type
            case ["unmanifest", str(repository), str(digest)]:
                manifests.pop((repository, digest), None)
            case ["tag", str(repository), str(tag), str(digest), _]:
                tags[repository, tag] = number, digest
            case ["untag", str(repository), str(tag)]:
                tags.pop((repository, tag), None)
            case _:
                continue
    # A tag ends with its manifest, also when that was pushed again later.
    alive = {
        (repository, tag): digest
        for (repository, tag), (number, digest) in tags.items()
        if manifests.get((repository, digest), (number + 1, ""))[0] <= number
    }
    return _Names({key: media_type for key, (_, media_type) in manifests.items()}, alive)


def _restore(
    index: SqliteIndex, storage: Storage, repository: str, digest: str, media_type: str | None
) -> bool:
    try:
        parsed = Digest.parse(digest)
        raw = storage.read(parsed, limit=MANIFEST_LIMIT)
        manifest = examine(raw, media_type, parsed)
    except (ImagesError, ApiError):
        return False
    write = partial(_put, index, storage, repository, manifest)
    index.write(repository, write, durable=False)
    return True


def _put(index: SqliteIndex, storage: Storage, repository: str, manifest: NewManifest) -> None:
    for blob, stated in manifest.blobs:
        if storage.size(Digest.parse(blob)) == stated:
            index.link_blob(repository, blob, stated)
    index.put_manifest(repository, manifest, [], sparse=True)


def _unnamed(index: SqliteIndex, storage: Storage, names: _Names, gather: str | None) -> int:
    """Find manifests that the journal does not know; into ``gather`` with them, if it is given."""
    known = {digest for _, digest in names.manifests}
    number = 0
    for digest in storage.digests():
        if str(digest) in known or not _looks_like_manifest(storage, digest):
            continue
        if gather is None:
            number += _is_manifest(storage, digest)
        else:
            number += _restore(index, storage, gather, str(digest), None)
    return number


def _looks_like_manifest(storage: Storage, digest: Digest) -> bool:
    size = storage.size(digest)
    if size is None or not 2 < size <= MANIFEST_LIMIT:
        return False
    with storage.open(digest) as file:
        return file.read(1) in _OPENING


def _is_manifest(storage: Storage, digest: Digest) -> bool:
    try:
        examine(storage.read(digest, limit=MANIFEST_LIMIT), None, digest)
    except (ImagesError, ApiError):
        return False
    return True


def _restore_tags(index: SqliteIndex, names: _Names) -> int:
    return sum(
        index.write(repository, partial(index.retag, repository, tag, digest), durable=False)
        for (repository, tag), digest in names.tags.items()
    )


def _count(index: SqliteIndex, tags: int, lost: Iterable[str], unnamed: int) -> RebuildReport:
    sql = (
        "SELECT (SELECT COUNT(*) FROM repositories), (SELECT COUNT(*) FROM manifests),"
        " (SELECT COUNT(*) FROM blob_links)"
    )
    repositories, manifests, blobs = index.reader().execute(sql).fetchone()
    return RebuildReport(repositories, manifests, tags, blobs, tuple(lost), unnamed, "")


def _swap(root: Path, fresh: Path, moment: int, number: int) -> str:
    """Put the new index in place; returns the folder of what it replaces.

    The journal goes on: its next log begins with all that the new index has. A crash in here leaves
    a journal from which this can be done again.
    """
    old = root / f"replaced-{moment}"
    old.mkdir()
    log = log_path(fresh / "journal", _ONLY_LOG)
    if log.exists():
        log.replace(log_path(root / "journal", number))
    for name in ("index.db-wal", "index.db-shm", "index.db"):
        if (root / name).exists():
            (root / name).rename(old / name)
    (fresh / "index.db").rename(root / "index.db")
    sync_directory(root)
    shutil.rmtree(fresh)
    return str(old)
