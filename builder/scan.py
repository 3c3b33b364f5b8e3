"""The state of a build context by file status alone: one walk, no file opened.

Two scans with equal digests saw the same names, modes, sizes, inodes and change times. A change
time cannot be set by a program, so equal digests mean unchanged content, with one exception: a file
changed twice within one tick of the file system's clock. ``settled`` says whether every change was
long enough before the scan to rule that out (the rule git's index calls "racy").

The walk goes by file descriptors, so no link and no ``..`` leads out of the context. Sockets are
left out, as no layer can hold one. A directory that the ignore file hides stays visible while it
holds something that is taken back in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from struct import Struct

from builder.errors import BuildEnvironmentError, BuildInputError
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias

    Listings: TypeAlias = dict[str, dict[str, os.stat_result]]
    Hidden: TypeAlias = list[tuple[str, os.stat_result]]

FINE_TICK_NS: Final = 20_000_000
"""Longer than a kernel tick, which bounds the resolution of Linux file systems with nanoseconds."""
COARSE_TICK_NS: Final = 2_000_000_000
"""Resolution of file systems that keep whole seconds."""
DEPTH_LIMIT: Final = 256
"""Parts of a path; deeper trees exist to break the programs that walk them."""

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_FORMAT: Final = 0o170000
_DIRECTORY: Final = 0o040000
_SOCKET: Final = 0o140000
_REGULAR: Final = 0o100000
"""inode(7), named here because this loop is most of a build in which nothing changed."""
_WORD: Final = (1 << 64) - 1
_ROW: Final = Struct("<IQQQQ")
"""Mode, size, change and modification time in nanoseconds, inode."""


class ContextScan(Record):
    """What one walk saw. ``newest_ns`` is the latest change time; ``coarse`` that it has no ns.

    ``directories`` holds every visible directory with the status of what is in it, by name; ``""``
    is the root.
    """

    digest: str
    newest_ns: int
    started_ns: int
    coarse: bool
    directories: Listings

    @property
    def settled(self) -> bool:
        """Whether no later change can hide behind the times seen here."""
        return self.wait_ns <= 0

    @property
    def wait_ns(self) -> int:
        """How long before ``started_ns`` was safe, in nanoseconds; negative when it was."""
        tick = COARSE_TICK_NS if self.coarse else FINE_TICK_NS
        return self.newest_ns + tick - self.started_ns

    def measure(self) -> tuple[int, int]:
        """How many regular files there are, and their bytes."""
        sizes = [
            status.st_size
            for listing in self.directories.values()
            for status in listing.values()
            if status.st_mode & _FORMAT == _REGULAR
        ]
        return len(sizes), sum(sizes)


def scan_context(
    root: str,
    *,
    now_ns: int,
    ignored: Callable[[str], bool] | None = None,
    may_prune: Callable[[str], bool] | None = None,
) -> ContextScan:
    """Walk ``root``. Paths that ``ignored`` names do not count; those it prunes are not entered.

    Raises:
        BuildInputError: nested too deeply.
        BuildEnvironmentError: a directory cannot be read.
    """
    walk = _Walk(root, ignored, may_prune)
    try:
        folder = os.open(root, _OPEN_FLAGS)
    except OSError as error:
        raise _unreadable(root, error) from error
    walk.directory(folder, "", 0)
    newest = walk.newest
    coarse = newest % 1_000_000_000 == 0
    return ContextScan(walk.hasher.hexdigest(), newest, now_ns, coarse, walk.found)


class _Walk:
    """One walk over a context."""

    def __init__(
        self,
        root: str,
        ignored: Callable[[str], bool] | None,
        may_prune: Callable[[str], bool] | None,
    ) -> None:
        self._root = root
        self._ignored = ignored
        self._may_prune = may_prune
        self.found: Listings = {}
        self.hasher = hashlib.sha256()
        self.newest = 0

    def directory(self, folder: int, path: str, depth: int) -> bool:
        """Walk an open directory and close it; return whether anything in it is visible."""
        listing: dict[str, os.stat_result] = {}
        rows: list[bytes] = []
        deeper: list[str] = []
        hidden: Hidden = []
        prefix = f"{path}/" if path else ""
        try:
            if depth > DEPTH_LIMIT:
                raise BuildInputError(
                    f"the build context is nested deeper than {DEPTH_LIMIT} directories",
                    where=path,
                )
            self._list(folder, prefix, listing, rows, deeper, hidden)
            for name in deeper:
                self._enter(folder, name, prefix + name, depth)
            for name, status in hidden:
                if self._enter(folder, name, prefix + name, depth):
                    listing[name] = status
                    rows.append(_ROW.pack(status.st_mode, 0, 0, 0, 0))
        except OSError as error:
            raise _unreadable(f"{self._root}/{path}", error) from error
        finally:
            os.close(folder)
        if listing or not path or not (self._ignored is not None and self._ignored(path)):
            self.found[path] = listing
        # No name holds a NUL and every row has one length, so no two contexts look the same.
        names = "\0".join((path, str(len(listing)), *listing, ""))
        self.hasher.update(names.encode("utf-8", "surrogateescape") + b"".join(rows))
        return bool(listing)

    def _list(
        self,
        folder: int,
        prefix: str,
        listing: dict[str, os.stat_result],
        rows: list[bytes],
        deeper: list[str],
        hidden: Hidden,
    ) -> None:
        """Sort what a directory holds into what is visible, with its rows, and what to enter."""
        ignored, newest, pack = self._ignored, self.newest, _ROW.pack
        with os.scandir(folder) as items:
            for item in items:
                name = item.name
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                kind = mode & _FORMAT
                if ignored is not None and ignored(prefix + name):
                    if kind == _DIRECTORY and not self._prunes(prefix + name):
                        hidden.append((name, status))
                    continue
                if kind == _SOCKET:
                    continue
                changed = status.st_ctime_ns
                if changed > newest:
                    newest = changed
                listing[name] = status
                if kind == _DIRECTORY:
                    # Its size and times follow from its entries, which are listed.
                    deeper.append(name)
                    rows.append(pack(mode, 0, 0, 0, 0))
                    continue
                modified = status.st_mtime_ns & _WORD
                rows.append(pack(mode, status.st_size, changed & _WORD, modified, status.st_ino))
        self.newest = newest

    def _prunes(self, path: str) -> bool:
        return self._may_prune is not None and self._may_prune(path)

    def _enter(self, parent: int, name: str, path: str, depth: int) -> bool:
        return self.directory(os.open(name, _OPEN_FLAGS, dir_fd=parent), path, depth + 1)


def _unreadable(path: str, error: OSError) -> BuildEnvironmentError:
    return BuildEnvironmentError(
        f"cannot read the build context: {error.strerror}",
        where=path,
        fix="make it readable, or list it in .dockerignore",
    )
