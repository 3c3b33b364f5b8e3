"""A copy of a store while it serves, and a store from a copy.

The state (index, trust data, keys, users) is copied at one moment, then the blobs that it names,
while no collection runs; only then does the copy's state become the new one, in one rename. So a
copy is whole at any time: the last one that was finished. Blobs are copied once and stay.

Not copied are open uploads, the journal (made anew from the index) and what is outside the store's
folder, such as a configuration file or certificates.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from images.blobs import BlobStore
from images.digest import Digest
from images.durable import sync_folder
from images.errors import ImagesError
from registry.collection.collector import only_one
from registry.collection.journal_base import rebase
from registry.errors import BackupError
from registry.index import SqliteIndex

STATE: Final = "state"
_LEFT_OUT: Final = frozenset(
    {"blobs", "uploads", "trash", "journal", "rebuilding", "quarantine", "generations"}
)
_DATABASE: Final = ".db"
_PIECE: Final = 1 << 20

_NEEDED: Final = "SELECT digest FROM blob_links UNION SELECT digest FROM manifests ORDER BY digest"


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


def back_up(root: Path, target: Path, *, told: Callable[[int], object] = int) -> CopyReport:
    """Bring the copy at ``target`` up to date; blocks. ``told`` hears the number of blobs seen.

    Raises:
        CollectionBusyError: a collection runs; try again after it.
        BackupError: ``target`` lies in the store.
        OSError, EnvironmentFault: a disk fails; the last finished copy is as it was.
    """
    if target.resolve().is_relative_to(root.resolve()):
        raise BackupError("a copy inside the store would go with it", where=str(target))
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target / f"{STATE}.new"
    with only_one(root / "collection.lock"):
        shutil.rmtree(fresh, ignore_errors=True)
        _copy_state(root, fresh)
        report = _copy_blobs(fresh / "index.db", root, target, told)
    _sync(fresh)
    old = target / f"{STATE}.old"
    shutil.rmtree(old, ignore_errors=True)
    if (target / STATE).exists():
        (target / STATE).rename(old)
    fresh.rename(target / STATE)
    sync_folder(target)
    shutil.rmtree(old, ignore_errors=True)
    return report


def restore(source: Path, root: Path, *, told: Callable[[int], object] = int) -> CopyReport:
    """Make a store at ``root``, which must be empty or not there, from a copy; blocks.

    Raises:
        BackupError: ``source`` is no copy, or there is something at ``root``.
        OSError, EnvironmentFault: a disk fails; ``root`` is to be removed then.
    """
    state = source / STATE
    if not state.is_dir() and (source / f"{STATE}.old").is_dir():
        # The copy was broken off between two renames.
        state = source / f"{STATE}.old"
    if not (state / "index.db").is_file():
        raise BackupError(
            "there is no finished copy in it", where=str(source), fix="name a backup's folder"
        )
    if root.exists() and any(root.iterdir()):
        raise BackupError(
            "there is something already", where=str(root), fix="name a folder that is empty"
        )
    root.mkdir(parents=True, exist_ok=True)
    report = _copy_blobs(state / "index.db", source, root, told)
    _copy_state(state, root)
    index = SqliteIndex(root)
    try:
        with closing(index.connect()) as connection:
            rebase(index, connection, always=True)
    finally:
        index.close()
    _sync(root)
    return report


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
    index: Path, source: Path, target: Path, told: Callable[[int], object]
) -> CopyReport:
    here, there = BlobStore(source), BlobStore(target)
    # Its writers stage files in a folder of the store.
    (target / "blobs").mkdir(exist_ok=True)
    blobs = copied = size = 0
    missing = []
    for digest in _needed(index):
        blobs += 1
        told(blobs)
        if there.size(digest) is not None:
            continue
        try:
            size += _copy_blob(here, there, digest)
            copied += 1
        except ImagesError as error:
            missing.append(f"{digest}: {error.what}")
    return CopyReport(blobs, copied, size, tuple(missing))


def _needed(index: Path) -> Iterator[Digest]:
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        for (text,) in connection.execute(_NEEDED):
            yield Digest.parse(text)


def _copy_blob(source: BlobStore, target: BlobStore, digest: Digest) -> int:
    """Hash and copy; damage there is not taken here."""
    with source.open(digest) as file, target.writer(expected=digest) as writer:
        while piece := file.read(_PIECE):
            writer.write(piece)
        writer.commit()
        return writer.written


def _sync(folder: Path) -> None:
    """Make the small files of a tree survive a power loss; blobs are durable already."""
    for path in folder.rglob("*"):
        if path.is_file() and "blobs" not in path.relative_to(folder).parts[:1]:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_folder(folder)
