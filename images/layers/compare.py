"""What differs between two layers that should be equal: which files, and which of their attributes.

Both are read as streams. Files whose bytes differ are read once more, to say where.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from images.layers import entry as kinds
from images.layers.tar_read import read_tar
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from images.layers.entry import Entry
    from images.layers.tar_read import Body, Readable

    Opener: TypeAlias = Callable[[], AbstractContextManager[Readable]]

LOCATED: Final = 100
"""Files for which the first differing byte is looked for."""
_NAMES: Final = {
    kinds.FILE: "file",
    kinds.DIRECTORY: "directory",
    kinds.SYMLINK: "symbolic link",
    kinds.HARDLINK: "hard link",
    kinds.CHARACTER: "character device",
    kinds.BLOCK: "block device",
    kinds.FIFO: "FIFO",
}


class FileDifference(Record):
    """One path that is not the same in both layers.

    ``attribute`` is ``presence``, ``type``, ``mode``, ``owner``, ``size``, ``mtime``, ``link``,
    ``device``, ``xattr``, ``content`` or ``order``; ``first`` and ``second`` are what each has, as
    text. ``offset`` is that of the first differing byte of contents.
    """

    path: str
    attribute: str
    first: str = ""
    second: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        if self.attribute == "order":
            return "the same files in another order or form"
        if self.attribute == "content":
            place = "" if self.offset is None else f" from byte {self.offset} on"
            return f"/{self.path}: content differs{place}"
        if self.attribute == "presence":
            return f"/{self.path}: only in the {self.first or self.second} build"
        return f"/{self.path}: {self.attribute} {self.first}, then {self.second}"


def compare_layers(first: Opener, second: Opener) -> list[FileDifference]:
    """Compare two layers, each opened as the plain bytes of its tar; sorted by path.

    A file may differ in several attributes. When every file is the same, ``order`` is what differs.

    Raises:
        InvalidArchiveError, SizeLimitError: a layer is malformed.
    """
    with first() as one, second() as two:
        left, right = _listed(one), _listed(two)
    found: list[FileDifference] = []
    unlike: list[str] = []
    for path in sorted(left.keys() | right.keys()):
        if path not in right:
            found.append(FileDifference(path, "presence", first="first"))
        elif path not in left:
            found.append(FileDifference(path, "presence", second="second"))
        else:
            (old, old_digest), (new, new_digest) = left[path], right[path]
            found += _attributes(old, new)
            if old.kind == new.kind == kinds.FILE and old_digest != new_digest:
                unlike.append(path)
    offsets = _offsets(first, second, frozenset(unlike[:LOCATED]))
    found += [FileDifference(path, "content", offset=offsets.get(path)) for path in unlike]
    found.sort(key=lambda difference: difference.path)
    return found or [FileDifference("", "order")]


def _listed(stream: Readable) -> dict[str, tuple[Entry, bytes]]:
    listed: dict[str, tuple[Entry, bytes]] = {}
    for entry, body in read_tar(stream):
        hasher = hashlib.sha256()
        if entry.kind == kinds.FILE:
            for _, piece in _dense(body):
                hasher.update(piece)
        listed[entry.path] = (entry, hasher.digest())
    return listed


def _attributes(old: Entry, new: Entry) -> Iterator[FileDifference]:
    path = old.path
    if old.kind != new.kind:
        yield FileDifference(path, "type", _NAMES[old.kind], _NAMES[new.kind])
        return
    pairs = (
        ("mode", f"{old.mode:04o}", f"{new.mode:04o}"),
        ("owner", f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"),
        ("size", str(old.size), str(new.size)),
        ("mtime", _time(old.mtime), _time(new.mtime)),
        ("link", old.linkname, new.linkname),
        ("device", f"{old.major}:{old.minor}", f"{new.major}:{new.minor}"),
    )
    for attribute, before, after in pairs:
        if before != after:
            yield FileDifference(path, attribute, before, after)
    for name in sorted(old.xattrs.keys() | new.xattrs.keys()):
        before, after = (
            "none" if value is None else f"{name}={value.hex()}"
            for value in (old.xattrs.get(name), new.xattrs.get(name))
        )
        if before != after:
            yield FileDifference(path, "xattr", before, after)


def _offsets(first: Opener, second: Opener, paths: frozenset[str]) -> dict[str, int]:
    """Of each path the first byte that differs."""
    if not paths:
        return {}
    found: dict[str, int] = {}
    with first() as one, second() as two, tempfile.TemporaryFile(buffering=0) as scratch:
        fd = scratch.fileno()
        starts: dict[str, tuple[int, int]] = {}
        end = 0
        for path, body in _bodies(one, paths):
            start = end
            for _, piece in _dense(body):
                _write_at(fd, piece, end)
                end += len(piece)
            starts[path] = (start, end)
        for path, body in _bodies(two, paths):
            found[path] = _first_difference(fd, *starts[path], body)
    return found


def _bodies(stream: Readable, paths: frozenset[str]) -> Iterator[tuple[str, Body]]:
    for entry, body in read_tar(stream):
        if entry.path in paths and entry.kind == kinds.FILE:
            yield entry.path, body


def _first_difference(fd: int, start: int, end: int, body: Body) -> int:
    position = 0
    for _, piece in _dense(body):
        other = os.pread(fd, min(len(piece), end - start - position), start + position)
        if other != piece:
            pairs = zip(other, piece, strict=False)
            same = next((at for at, (a, b) in enumerate(pairs) if a != b), len(other))
            return position + same
        position += len(piece)
    return position


def _dense(body: Body) -> Iterable[tuple[int, memoryview]]:
    """The content with its holes, in pieces."""
    if body.segments == [(0, body.size)]:
        return body.pieces()
    return ((0, memoryview(piece)) for piece in iter(lambda: body.read(1 << 20), b""))


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError):
        text = str(seconds)
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"
