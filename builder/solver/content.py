"""Content digests: what a selection of files holds, without when it was written.

Per entry: path, kind, mode, owner, size, link text, device, extended attributes and the SHA-256 of
the bytes; never the modification time, so ``touch`` does not invalidate and ``chmod`` does. Files
of the host are hashed once as long as their status (size, mtime, ctime, inode) stays the same; a
file changed so recently that its timestamps could hide another change is always read again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from builder.keys import KeyValue, frame

if TYPE_CHECKING:
    from images.layers.entry import Entry

READ_SIZE: Final = 1 << 20
RACY_NS: Final = 2_000_000_000
"""Coarsest timestamp of the file systems in use."""
CACHE_HEADER: Final = b"lading stat cache 1\n"


@dataclass(frozen=True, slots=True)
class Selection:
    """The digest of a set of files, and each file's own digest for explanations."""

    digest: bytes
    files: dict[str, str] = field(default_factory=dict)


class FileHasher:
    """Hashes host files; remembers by path and status. Safe to use from several threads.

    ``now_ns`` is the time of the hashing: a status younger than ``RACY_NS`` is not remembered.
    """

    def __init__(self, now_ns: int, known: bytes | None = None) -> None:
        self._now_ns = now_ns
        self._known = _decode(known) if known else {}
        self._lock = threading.Lock()
        self.changed = False

    def sha256(self, path: str) -> str:
        """The hex digest of a regular file's bytes.

        Raises:
            OSError: the file is gone or unreadable.
        """
        status = os.lstat(path)
        mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        digest = _hash_file(path)
        if self._now_ns - max(status.st_ctime_ns, status.st_mtime_ns) > RACY_NS:
            with self._lock:
                self._known[path] = (mark, digest)
                self.changed = True
        return digest

    def encode(self) -> bytes:
        """What is remembered, for the next build."""
        cells = (
            cell for path, (mark, digest) in self._known.items() for cell in (path, mark, digest)
        )
        return CACHE_HEADER + "\0".join(cells).encode("utf-8", "surrogateescape")


def select(entries: Iterable[Entry], hasher: FileHasher, *, names: KeyValue = ()) -> Selection:
    """The content digest of ``entries``, whose paths are those of the sources.

    ``names`` is what else about the selection counts, for instance its order.

    Raises:
        OSError: a file is gone or unreadable.
    """
    files: dict[str, str] = {}
    total = hashlib.sha256(frame(names))
    for entry in sorted(entries, key=lambda item: item.path):
        digest = entry_digest(entry, hasher)
        total.update(digest)
        files[entry.path] = digest.hex()[:32]
    return Selection(total.digest(), files)


def entry_digest(entry: Entry, hasher: FileHasher) -> bytes:
    """The digest of one entry."""
    content = ""
    if entry.kind == "f":
        if isinstance(entry.source, str):
            content = hasher.sha256(entry.source)
        else:
            content = _hash_source(entry)
    header = frame(
        (
            *(entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size),
            *(entry.linkname, entry.major, entry.minor, dict(entry.xattrs), content),
        )
    )
    return hashlib.sha256(header).digest()


def _hash_file(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        hasher = hashlib.sha256()
        while chunk := os.read(fd, READ_SIZE):
            hasher.update(chunk)
        return hasher.hexdigest()
    finally:
        os.close(fd)


def _hash_source(entry: Entry) -> str:
    hasher = hashlib.sha256()
    with entry.open_source() as stream:
        while chunk := stream.read(READ_SIZE):
            hasher.update(chunk)
    return hasher.hexdigest()


def _decode(raw: bytes) -> dict[str, tuple[str, str]]:
    if not raw.startswith(CACHE_HEADER):
        return {}
    cells = raw[len(CACHE_HEADER) :].decode("utf-8", "surrogateescape").split("\0")
    rows = zip(cells[0::3], cells[1::3], cells[2::3], strict=False)
    return {path: (mark, digest) for path, mark, digest in rows}
