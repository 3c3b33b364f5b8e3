"""Small files that all replicas share, as rows of a store: see ``registry.smallfiles.SharedFile``.

A change gives its file a number above all numbers before it, so whoever remembers the highest
number of a folder knows whether anything in it changed. What was removed keeps its row, without
content, and its number. Content is small: it is read and written whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from registry.smallfiles import Signature
from registry.sql.connection import Connection
from registry.sql.stores import Stores

FILE: Final = "files.db"

STEPS: Final = (
    """
CREATE TABLE files (name TEXT PRIMARY KEY, content BLOB, number INTEGER NOT NULL);
""",
)

_BELOW: Final = "name > ?1 AND name < ?2"
_PUT: Final = (
    "INSERT INTO files (name, content, number)"
    " SELECT ?1, ?2, COALESCE(MAX(number), 0) + 1 FROM files WHERE true"
    " ON CONFLICT (name) DO UPDATE SET content = excluded.content, number = excluded.number"
)


class StoredFiles:
    """The small files of one registry."""

    def __init__(self, stores: Stores) -> None:
        """Open their store; raises as ``Stores.open`` does."""
        self._store = stores.open(Path(FILE), STEPS)
        self._local = threading.local()

    @property
    def root(self) -> StoredFile:
        """The folder of all."""
        return StoredFile(self, "")

    @property
    def where(self) -> str:
        """Names them in messages."""
        return self._store.where

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def reader(self) -> Connection:
        """What this thread reads with, within its own change or without one."""
        changing: Connection | None = getattr(self._local, "changing", None)
        return self._store.reader() if changing is None else changing

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Change alone, all of it or nothing; blocks of one thread nest."""
        known: Connection | None = getattr(self._local, "changing", None)
        if known is not None:
            yield known
            return
        with self._store.transaction() as connection:
            self._local.changing = connection
            try:
                yield connection
            finally:
                self._local.changing = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One of them, or a folder: ``path`` has slashes, "" is the folder of all."""

    files: StoredFiles
    path: str

    def __str__(self) -> str:
        return f"{self.files.where}/{self.path}"

    @property
    def name(self) -> str:
        """See ``SharedFile``."""
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        """See ``SharedFile``."""
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        """See ``SharedFile``."""
        return PurePosixPath(self.path).suffix

    def __truediv__(self, name: str, /) -> StoredFile:
        return StoredFile(self.files, f"{self.path}/{name}" if self.path else name)

    def read_bytes(self) -> bytes:
        """See ``SharedFile``."""
        content = self._content()
        if content is None:
            raise FileNotFoundError(2, "no such file", str(self))
        return content

    def exists(self) -> bool:
        """See ``SharedFile``."""
        return self._content() is not None

    def is_dir(self) -> bool:
        """See ``SharedFile``."""
        return next(self._names(), None) is not None

    def iterdir(self) -> Iterator[StoredFile]:
        """See ``SharedFile``."""
        for name in self._names():
            if "/" not in name:
                yield self / name

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 -- as pathlib
        """See ``SharedFile``."""
        with self.files.changing() as run:
            if self._content() is not None:
                run.execute(_PUT, (self.path, None))
            elif not missing_ok:
                raise FileNotFoundError(2, "no such file", str(self))

    def signature(self) -> Signature:
        """See ``SharedFile``; the highest number of the file and of what is below it."""
        sql = f"SELECT COALESCE(MAX(number), 0) FROM files WHERE name = ?3 OR ({_BELOW})"
        row = self.files.reader().execute(sql, (*self._bounds(), self.path)).fetchone()
        return 1, 0, int(row[0]), 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See ``SharedFile``."""
        with self.files.changing():
            yield

    def replace(self, data: bytes) -> None:
        """See ``SharedFile``."""
        with self.files.changing() as run:
            run.execute(_PUT, (self.path, data))

    def create(self, data: bytes) -> bytes:
        """See ``SharedFile``."""
        with self.files.changing() as run:
            found = self._content()
            if found is None:
                run.execute(_PUT, (self.path, data))
        return data if found is None else found

    def _content(self) -> bytes | None:
        sql = "SELECT content FROM files WHERE name = ?"
        row = self.files.reader().execute(sql, (self.path,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def _names(self) -> Iterator[str]:
        """What is below this folder, by its path from here."""
        sql = f"SELECT name FROM files WHERE {_BELOW} AND content IS NOT NULL ORDER BY name"
        start = f"{self.path}/" if self.path else ""
        for (name,) in self.files.reader().execute(sql, self._bounds()).fetchall():
            yield str(name).removeprefix(start)

    def _bounds(self) -> tuple[str, str]:
        """Names between these are below this folder: 0 is what follows the slash in ASCII."""
        return (f"{self.path}/", f"{self.path}0") if self.path else ("", "\x7f")
