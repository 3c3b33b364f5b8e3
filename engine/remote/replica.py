"""Copies of clients' contexts: each kept, so that the next build is sent only what changed.

What a client lists is untrusted as a tree: every object is made and removed through a descriptor of
its directory, which no link leads out of (openat2(2)). One session at a time has a replica; another
one of the same context gets a fresh one that is removed at its end.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from engine.remote.errors import ChannelError
from engine.remote.listing import DIRECTORY, FIFO, FILE, LINK, Row
from images.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

UNUSED_SECONDS: Final = 7 * 24 * 3600
"""After which a replica is removed."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Replica:
    """A directory that is made to hold what was listed."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self._index = folder / "rows.json"
        self._rows: list[Row] = []
        self._root = -1

    def begin(self, rows: Sequence[Row]) -> list[int]:
        """Remove what is no longer listed; returns the numbers of the files that are wanted."""
        self._rows = list(rows)
        known = self._known()
        # From here on the index is wrong until everything is there.
        self._index.unlink(missing_ok=True)
        if not known:
            shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True, exist_ok=True)
        self._root = os.open(self.files, _DIRECTORY)
        listed = {row.path: row for row in rows}
        for path, row in reversed(known.items()):
            now = listed.get(path)
            if now is None or now.kind != row.kind:
                self._remove(path)
        wanted = []
        for number, row in enumerate(rows):
            same = known.get(row.path)
            if row.kind == FILE and not (same and _alike(same, row) and self._there(row)):
                wanted.append(number)
        return wanted

    def complete(self, wanted: Sequence[int], contents: Iterator[bytes]) -> None:
        """Make everything; ``contents`` are the bytes of the wanted files, one after the other.

        Raises:
            ChannelError: there are fewer or more bytes than were listed.
        """
        rest = _Bytes(contents)
        missing = set(wanted)
        try:
            self._fill(missing, rest)
        finally:
            self.close()
        stage = self._index.with_suffix(".new")
        stage.write_text(json.dumps(self._rows))
        stage.replace(self._index)

    def close(self) -> None:
        """Let go of the directory; harmless when repeated."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def _fill(self, missing: Collection[int], rest: _Bytes) -> None:
        for number, row in enumerate(self._rows):
            with self._parent(row.path) as parent:
                self._make(parent, row, rest if number in missing else None)
        if not rest.ended():
            raise ChannelError("the other end sent more than it listed")
        for row in reversed(self._rows):
            if row.kind == DIRECTORY:
                with self._parent(row.path) as parent:
                    _settle(parent, row)

    def _known(self) -> dict[str, Row]:
        try:
            return {row[0]: Row(*row) for row in json.loads(self._index.read_text())}
        except (OSError, ValueError, TypeError):
            return {}

    def _there(self, row: Row) -> bool:
        try:
            with self._parent(row.path) as parent:
                status = os.lstat(os.path.basename(row.path), dir_fd=parent)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == row.size

    @contextmanager
    def _parent(self, path: str) -> Iterator[int]:
        """A descriptor of the directory that holds ``path``."""
        where = os.path.dirname(path) or "."
        parent = openat2(self._root, where, _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        try:
            yield parent
        finally:
            os.close(parent)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError), self._parent(path) as parent:
            _clear(parent, os.path.basename(path))

    def _make(self, parent: int, row: Row, contents: _Bytes | None) -> None:
        name = os.path.basename(row.path)
        if row.kind == DIRECTORY:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            return
        if row.kind == FILE and contents is not None:
            _clear(parent, name)
            _write(parent, name, row, contents)
        elif row.kind == LINK:
            _clear(parent, name)
            os.symlink(row.content, name, dir_fd=parent)
        elif row.kind == FIFO:
            _clear(parent, name)
            os.mkfifo(name, 0o600, dir_fd=parent)
        _settle(parent, row)


class _Bytes:
    """Pieces of any length, read in lengths of our own."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._held:
                self._held = next(self._pieces, b"")
                if not self._held:
                    raise ChannelError("the other end sent less than it listed")
            piece, self._held = self._held[:size], self._held[size:]
            size -= len(piece)
            yield piece

    def ended(self) -> bool:
        return not self._held and next(self._pieces, None) is None


def _alike(one: Row, other: Row) -> bool:
    """Whether a file's bytes and attributes are the same; mode and times are set anyway."""
    return (one.size, one.content, one.xattrs) == (other.size, other.content, other.xattrs)


def _clear(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _write(parent: int, name: str, row: Row, contents: _Bytes) -> None:
    descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        for piece in contents.take(row.size):
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        for key, value in row.xattrs.items():
            if key.startswith(("user.", "security.capability")):
                os.setxattr(descriptor, key, base64.b64decode(value))
    finally:
        os.close(descriptor)


def _settle(parent: int, row: Row) -> None:
    """Mode and time, as far as the kind has them."""
    name = os.path.basename(row.path)
    if row.kind != LINK:
        os.chmod(name, row.mode, dir_fd=parent)
    os.utime(name, ns=(row.mtime, row.mtime), dir_fd=parent, follow_symlinks=False)


@contextmanager
def replica(base: Path, *owner: str) -> Iterator[Replica]:
    """The replica of one context of one client, below ``base``, for the length of a session."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(base)
    name = hashlib.sha256("\0".join(owner).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    folder = base / name
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        with (
            tempfile.TemporaryDirectory(prefix="once-", dir=base) as once,
            closing(Replica(Path(once))) as made,
        ):
            yield made
        return
    except BaseException:
        os.close(descriptor)
        raise
    try:
        os.utime(folder)
        with closing(Replica(folder)) as made:
            yield made
    finally:
        os.close(descriptor)


def _sweep(base: Path) -> None:
    """Remove what nobody used for long, leftovers of sessions that were killed included."""
    before = time.time() - UNUSED_SECONDS
    for folder in base.iterdir():
        with suppress(OSError):
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder)
