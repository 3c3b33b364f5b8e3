"""The small files of a store's folder (keys, users, trust data) in another folder.

Databases of rooms are copied as of one moment, by SQLite's own means. What is about one machine or
one index (locks, the index and its journal, blobs, uploads) stays behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from images.durable import sync_folder

_LEFT: Final = frozenset(
    {"blobs", "uploads", "trash", "journal", "rebuilding", "quarantine", "generations", "index.db"}
)
_ENDINGS: Final = (".lock", "-wal", "-shm", "-journal")
_DATABASE: Final = ".db"


def copy_state(old: Path, new: Path) -> None:
    """Bring the folder ``new`` up to date; nothing when it is the same. Durable on return."""
    if old.resolve() == new.resolve():
        return
    _copy(old, new)


def small_files(root: Path) -> Iterator[Path]:
    """The files of rooms below a store's folder: keys, accounts, reports; no database."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name in _LEFT or folder.name.startswith((".", "replaced-")):
            continue
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            other = hidden or path.is_symlink() or path.name.endswith((_DATABASE, *_ENDINGS))
            if path.is_file() and not other:
                yield path


def _copy(old: Path, new: Path) -> None:
    new.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(old.iterdir()):
        name = path.name
        if path.is_symlink() or name in _LEFT or name.startswith((".", "replaced-")):
            continue
        target = new / name
        if path.is_dir():
            _copy(path, target)
        elif name.endswith(_DATABASE):
            _replace(target, path, database=True)
        elif path.is_file() and not name.endswith(_ENDINGS) and not _is_same(path, target):
            _replace(target, path, database=False)
    sync_folder(new)


def _is_same(path: Path, target: Path) -> bool:
    with suppress(FileNotFoundError):
        one, other = path.stat(), target.stat()
        return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    return False


def _replace(target: Path, path: Path, *, database: bool) -> None:
    """Copy beside the target, and take its place when all is on disk."""
    partial = target.with_name(f".{target.name}.moving")
    with suppress(FileNotFoundError):
        partial.unlink()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(partial, flags, path.stat().st_mode & 0o777)
    try:
        if database:
            with (
                closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as live,
                closing(sqlite3.connect(partial)) as copy,
            ):
                live.backup(copy)
        else:
            shutil.copyfile(path, partial)
            shutil.copystat(path, partial)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(target)
