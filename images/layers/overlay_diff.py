"""An overlay upper directory, or any directory, as the sorted entries of a layer.

Kernel Documentation/filesystems/overlayfs.rst on one side, OCI image specification layer.md on the
other: a character device 0:0 becomes ``.wh.name``, an opaque directory gets ``.wh..wh..opq``. Files
are sorted by the bytes of their names, a directory before what it holds, so the order never depends
on the file system.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from images.errors import EnvironmentFault, InputError
from images.layers import entry as kinds
from images.layers.entry import WHITEOUT_PREFIX, Entry, opaque, whiteout
from images.layers.merged import MergedTree, is_whiteout, read_xattrs
from images.layers.opaque import is_opaque
from images.layers.unchanged import Below

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MAX_DEPTH: Final = 256
"""Parts of a path; deeper trees exist to break the programs that walk them."""

_KINDS: Final = {
    stat.S_IFREG: kinds.FILE,
    stat.S_IFLNK: kinds.SYMLINK,
    stat.S_IFCHR: kinds.CHARACTER,
    stat.S_IFBLK: kinds.BLOCK,
    stat.S_IFIFO: kinds.FIFO,
}
_INCOMPLETE: Final = ("overlay.redirect", "overlay.metacopy")


def scan_upper(
    directory: Path | str,
    *,
    max_mtime: int | None = None,
    lowers: Sequence[Path | str] = (),
) -> Iterator[Entry]:
    """The entries that turn the layers below into what the overlay mount showed.

    Of what was copied up from ``lowers`` (topmost first) and is as it was there nothing is said.

    The upper directory must be at rest. The root itself gets no entry. Sockets are left out, as
    they are dead without their process. ``max_mtime`` (seconds) clamps times, for
    SOURCE_DATE_EPOCH.

    Raises:
        InputError: a real file is named ``.wh.*``, which layers cannot express.
        EnvironmentFault: the mount used redirect_dir or metacopy, so the directory is not complete.
    """
    return _Scan(os.fspath(directory), max_mtime, overlay=True, lowers=lowers).directory("")


def scan_tree(directory: Path | str, *, max_mtime: int | None = None) -> Iterator[Entry]:
    """The entries of a plain directory tree, a root file system for instance; as ``scan_upper``
    but a character device 0:0 is a device, and an ``overlay`` attribute means nothing."""
    return _Scan(os.fspath(directory), max_mtime, overlay=False).directory("")


class _Scan:
    def __init__(
        self,
        root: str,
        max_mtime: int | None,
        *,
        overlay: bool,
        lowers: Sequence[Path | str] = (),
    ) -> None:
        self._root = root
        self._overlay = overlay
        self._max = None if max_mtime is None else max_mtime * 1_000_000_000
        self._links: dict[tuple[int, int], str] = {}
        self._below = Below(MergedTree(lowers), max_mtime=self._max) if lowers else None

    def directory(self, path: str, *, hides: bool = False) -> Iterator[Entry]:
        """What a directory holds; ``hides`` says that nothing of the layers below shows in it."""
        if path.count("/") >= MAX_DEPTH:
            raise InputError("directories are nested too deeply", where=f"/{path[:200]}")
        if self._overlay and path and is_opaque(f"{self._root}/{path}"):
            hides = True
            yield opaque(path)
        with os.scandir(f"{self._root}/{path}") as found:
            items = sorted(found, key=_name_bytes)
        for item in items:
            child = f"{path}/{item.name}" if path else item.name
            status = item.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                entry = self._entry(child, item.path, kinds.DIRECTORY, status)
                inner = self.directory(child, hides=hides)
                first = next(inner, None)
                if first is None:
                    if hides or not self._said(entry):
                        yield entry
                    continue
                yield entry
                yield first
                yield from inner
            else:
                other = self._other(child, item.path, status)
                # The other names of a file with several refer to its first one.
                alone = status.st_nlink == 1 and not hides
                if other is not None and not (alone and self._said(other)):
                    yield other

    def _said(self, entry: Entry) -> bool:
        return self._below is not None and self._below.says(entry)

    def _other(self, path: str, real: str, status: os.stat_result) -> Entry | None:
        if self._overlay and is_whiteout(status):
            return whiteout(path)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                kind = kinds.HARDLINK
                return self._entry(path, real, kind, status, linkname=first)
        return self._entry(path, real, kind, status)

    def _entry(
        self, path: str, real: str, kind: str, status: os.stat_result, *, linkname: str = ""
    ) -> Entry:
        if path.rpartition("/")[2].startswith(WHITEOUT_PREFIX):
            raise InputError(
                "a name that starts with .wh. means a deletion in a layer",
                where=f"/{path}",
                fix="rename or remove it in the step that makes it",
            )
        if kind == kinds.SYMLINK:
            linkname = os.readlink(real)
        device = kind in (kinds.CHARACTER, kinds.BLOCK)
        mtime = status.st_mtime_ns
        return Entry(
            path,
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_size if kind == kinds.FILE else 0,
            mtime if self._max is None else min(mtime, self._max),
            linkname,
            os.major(status.st_rdev) if device else 0,
            os.minor(status.st_rdev) if device else 0,
            kinds.NO_XATTRS if kind == kinds.HARDLINK else self._xattrs(path, real),
            real if kind == kinds.FILE else None,
        )

    def _xattrs(self, path: str, real: str) -> Mapping[str, bytes]:
        names = os.listxattr(real, follow_symlinks=False)
        if not names:
            return kinds.NO_XATTRS
        if self._overlay and any(name.endswith(_INCOMPLETE) for name in names):
            raise EnvironmentFault(
                "this upper directory refers to the layers below it",
                where=f"/{path}",
                fix="mount the overlay with redirect_dir=off,metacopy=off",
            )
        return read_xattrs(real)


def _name_bytes(item: os.DirEntry[str]) -> bytes:
    return os.fsencode(item.name)
