"""Entries: one file-system object on its way into or out of a layer.

A directory scan, an overlay upper directory, a COPY and a tar archive all speak in these, so each
of them can feed each of the others. An entry says what an object is; its bytes stay where they are
until ``open_source`` is called.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

if TYPE_CHECKING:
    from typing import TypeAlias

    Source: TypeAlias = Callable[[], BinaryIO] | str | bytes | None

FILE: Final = "f"
DIRECTORY: Final = "d"
SYMLINK: Final = "l"
HARDLINK: Final = "h"
CHARACTER: Final = "c"
BLOCK: Final = "b"
FIFO: Final = "p"

WHITEOUT_PREFIX: Final = ".wh."
OPAQUE_NAME: Final = ".wh..wh..opq"
"""OCI image specification, layer.md, "Whiteouts"."""

NO_XATTRS: Final[Mapping[str, bytes]] = {}


class Entry(NamedTuple):
    """One object of a layer; a tuple, because layers have very many of them.

    Entries are equal when they say the same, wherever their bytes are.

    Attributes:
        path: relative to the root, ``/`` between parts, no leading or trailing slash; ``""`` is the
            root directory itself. Bytes that are not UTF-8 travel as surrogate escapes.
        kind: one of the constants of this module.
        mode: permission bits including setuid, setgid and sticky.
        size: bytes of a regular file; 0 for everything else.
        mtime: nanoseconds since the epoch.
        linkname: a symbolic link's text, or the ``path`` a hard link points to.
        major, minor: device numbers.
        xattrs: extended attributes by full name.
        source: a regular file's content: a host path, the bytes themselves, or a function that
            opens it.
        content: a digest of the bytes that somebody who read them left; of whatever kind, but
            two files of equal mode and size have the same only if their bytes are the same.
    """

    path: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    linkname: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = NO_XATTRS
    source: Source = None
    content: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self[:-2] == other[:-2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:-3])

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of the directory that holds this entry; ``""`` at the top."""
        return self.path.rpartition("/")[0]

    @property
    def is_whiteout(self) -> bool:
        """Whether this entry hides something of the layers below (opaque markers included)."""
        return self.name.startswith(WHITEOUT_PREFIX)

    def read_from(self, source: Source) -> Entry:
        """This entry with its content elsewhere, where nobody has read it."""
        return Entry(*self[:-2], source)

    def open_source(self) -> BinaryIO:
        """Open the content of a regular file for reading.

        Raises:
            OSError: the host file is gone or unreadable.
        """
        source = self.source
        if source is None:
            return io.BytesIO()
        if isinstance(source, bytes):
            return io.BytesIO(source)
        if isinstance(source, str):
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.fdopen(os.open(source, flags), "rb", buffering=0)
        return source()


def whiteout(path: str, *, mtime: int = 0) -> Entry:
    """The entry that removes ``path`` of the layers below."""
    parent, slash, name = path.rpartition("/")
    return Entry(f"{parent}{slash}{WHITEOUT_PREFIX}{name}", FILE, mode=0, mtime=mtime)


def opaque(directory: str, *, mtime: int = 0) -> Entry:
    """The entry that hides all that the layers below have inside ``directory``."""
    return Entry(f"{directory}/{OPAQUE_NAME}".lstrip("/"), FILE, mode=0, mtime=mtime)
