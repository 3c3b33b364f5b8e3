"""A copy of a store while it serves, and a store from a copy.

The state (index, trust data, keys, users) is copied at one moment, then the blobs that it names,
while no collection runs; only then does the copy's state become the new one, in one rename. So a
copy is whole at any time: the last one that was finished. Blobs are copied once and stay. Where the
bytes were, in files or in a bucket, makes no difference to a copy, nor to the store made of it. A
copy of the index alone is for buckets that keep versions: it says where the bytes stayed.

Not copied are open uploads, the journal (made anew from the index) and what is outside the store's
folder, such as a configuration file or certificates.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from images.blobs import BlobStore
from images.digest import Digest
from images.durable import sync_folder
from registry.collection.collector import only_one
from registry.collection.journal_base import rebase
from registry.database import NO_REPOSITORY
from registry.errors import BackupError
from registry.index import SqliteIndex
from registry.moving.transfer import Tally, Transfer, Wanted
from registry.protocols import Storage
from registry.storage import PLACE

STATE: Final = "state"
BLOBS: Final = "blobs"
_STAYED: Final = "blobs-stayed-in"
"""A file of the copied state: which bucket has the bytes that were not copied."""

_LEFT_OUT: Final = frozenset(
    {BLOBS, "uploads", "trash", "journal", "rebuilding", "quarantine", "generations", _STAYED}
)
_DATABASE: Final = ".db"

_NEEDED: Final = (
    "SELECT digest, size FROM blob_links UNION SELECT digest, size FROM manifests ORDER BY digest"
)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a backup or restore did: blobs that are in it, those that were copied, their bytes."""

    blobs: int
    copied: int
    bytes: int
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)


def back_up(
    root: Path,
    storage: Storage,
    target: Path,
    *,
    index_only: bool = False,
    jobs: int = 4,
    told: Callable[[int], object] = int,
) -> CopyReport:
    """Bring the copy at ``target`` up to date; blocks. ``told`` hears the number of blobs seen.

    With ``index_only`` the bytes stay where they are.

    Raises:
        CollectionBusyError: a collection runs; try again after it.
        BackupError: ``target`` lies in the store, or bytes in files are to stay.
        OSError, EnvironmentFault: a disk fails; the last finished copy is as it was.
    """
    if target.resolve().is_relative_to(root.resolve()):
        raise BackupError("a copy inside the store would go with it", where=str(target))
    if index_only and storage.place is None:
        raise BackupError(
            "a copy of the index alone is for blobs in a bucket that keeps versions",
            where=str(root),
            fix="leave --index-only out",
        )
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target / f"{STATE}.new"
    with only_one(root / "collection.lock"):
        shutil.rmtree(fresh, ignore_errors=True)
        _copy_state(root, fresh)
        needed = _needed(fresh / "index.db")
        if index_only:
            (fresh / _STAYED).write_text(f"{storage.place}\n")
            report = _look(storage, needed, told)
        else:
            report = _copy_blobs(storage, _Shelf(target), needed, jobs, told)
    _sync(fresh)
    old = target / f"{STATE}.old"
    shutil.rmtree(old, ignore_errors=True)
    if (target / STATE).exists():
        (target / STATE).rename(old)
    fresh.rename(target / STATE)
    sync_folder(target)
    shutil.rmtree(old, ignore_errors=True)
    return report


def restore(
    source: Path,
    root: Path,
    open_storage: Callable[[], Storage],
    *,
    jobs: int = 4,
    told: Callable[[int], object] = int,
) -> CopyReport:
    """Make a store at ``root``, which must be empty or not there, from a copy; blocks.

    Its bytes go where ``open_storage`` says, which must be empty as well, unless they stayed there.

    Raises:
        BackupError: ``source`` is no copy, or there is something already.
        OSError, EnvironmentFault: a disk fails; what was made is to be removed then.
    """
    state = _finished(source)
    if root.exists() and any(root.iterdir()):
        raise BackupError(
            "there is something already", where=str(root), fix="name a folder that is empty"
        )
    root.mkdir(parents=True, exist_ok=True)
    storage = open_storage()
    stayed = (state / _STAYED).read_text().strip() if (state / _STAYED).exists() else None
    _check_place(storage, stayed)
    _copy_state(state, root)
    index = SqliteIndex(root)
    try:
        settle = partial(_settle, index, storage.place, keep=stayed is not None)
        index.write(NO_REPOSITORY, settle)
        storage.attach(index)
        needed = _needed(index.path)
        if stayed is None:
            report = _copy_blobs(BlobStore(source), storage, needed, jobs, told)
        else:
            report = _look(storage, needed, told)
        with closing(index.connect()) as connection:
            rebase(index, connection, always=True)
    finally:
        index.close()
    _sync(root)
    return report


def _finished(source: Path) -> Path:
    state = source / STATE
    if not state.is_dir() and (source / f"{STATE}.old").is_dir():
        # The copy was broken off between two renames.
        state = source / f"{STATE}.old"
    if not (state / "index.db").is_file():
        raise BackupError(
            "there is no finished copy in it", where=str(source), fix="name a backup's folder"
        )
    return state


def _check_place(storage: Storage, stayed: str | None) -> None:
    if stayed is not None:
        if storage.place is None:
            raise BackupError(
                f"this is a copy of an index alone; its blobs are in the bucket {stayed}",
                where="storage.type",
                fix="name a configuration whose [storage] is that bucket, or a copy of it",
            )
    elif storage.place is not None and not storage.is_empty():
        raise BackupError(
            "there is something already",
            where=storage.place,
            fix="set storage.prefix to one that nothing is under",
        )


def _settle(index: SqliteIndex, place: str | None, *, keep: bool) -> None:
    """Bring what the index knows of objects in line with where its bytes will be. Write."""
    execute = index.writer.execute
    for table in ("object_stages", "object_parts", "object_claims", "uploads"):
        execute(f"DELETE FROM {table}")
    if not keep:
        execute("DELETE FROM objects")
        execute("DELETE FROM object_trash")
    index.set_fact(PLACE, place)


def _copy_state(source: Path, target: Path) -> None:
    """All but blobs and what is made anew; databases as of one moment each."""
    target.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_symlink() or path.name in _LEFT_OUT or path.name.startswith("."):
            continue
        if path.is_dir() and not path.name.startswith("replaced-"):
            _copy_state(path, target / path.name)
        elif path.suffix == _DATABASE:
            _copy_database(path, target / path.name)
        elif path.is_file() and not path.name.endswith((".lock", ".db-wal", ".db-shm")):
            shutil.copy2(path, target / path.name)


def _copy_database(source: Path, target: Path) -> None:
    """By SQLite's own means, so that writers may go on."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(target, flags, source.stat().st_mode & 0o777))
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)


def _copy_blobs(
    giver: Storage | BlobStore,
    taker: Storage | _Shelf,
    needed: Iterable[Wanted],
    jobs: int,
    told: Callable[[int], object],
) -> CopyReport:
    def tell(tally: Tally) -> None:
        told(tally.blobs)

    done = Transfer(giver, taker, jobs, told=tell).run(needed)
    return CopyReport(done.blobs, done.copied, done.bytes, tuple(sorted(done.missing)))


def _look(storage: Storage, needed: Iterable[Wanted], told: Callable[[int], object]) -> CopyReport:
    """See that the bytes are where the index says; nothing is read."""
    blobs, missing = 0, []
    for item in needed:
        blobs += 1
        told(blobs)
        actual = storage.size(item.digest)
        if actual is None:
            missing.append(f"{item.digest}: no such object")
        elif actual != item.size:
            missing.append(f"{item.digest}: it has {actual} bytes instead of {item.size}")
    return CopyReport(blobs, 0, 0, tuple(missing))


def _needed(index: Path) -> Iterator[Wanted]:
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        for text, size in connection.execute(_NEEDED):
            yield Wanted(Digest.parse(text), size)


class _Shelf:
    """The blobs of a copy, as files by their digests."""

    def __init__(self, folder: Path) -> None:
        # Its writers stage files in a folder of the store.
        (folder / BLOBS).mkdir(exist_ok=True)
        self._blobs = BlobStore(folder)

    def recorded(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """The sizes of blobs that were copied before."""
        found = {digest: self._blobs.size(digest) for digest in digests}
        return {digest: size for digest, size in found.items() if size is not None}

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store small blobs, durably."""
        for digest, data in blobs.items():
            self.take([data], digest, len(data))

    def take(self, pieces: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store and verify content, durably."""
        with self._blobs.writer(expected=digest, size=size) as writer:
            for piece in pieces:
                writer.write(piece)
            writer.commit()


def _sync(folder: Path) -> None:
    """Make the small files of a tree survive a power loss; blobs are durable already."""
    for path in folder.rglob("*"):
        if path.is_file() and BLOBS not in path.relative_to(folder).parts[:1]:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_folder(folder)
