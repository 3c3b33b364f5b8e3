"""What a context holds, row by row, so that only what the other end lacks is sent."""

from __future__ import annotations

import base64
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from builder.context import ContextTree
from builder.digests import FileDigests
from builder.hostfiles import digest_file
from builder.ignore import IgnorePatterns
from engine.remote.channel import PIECE
from engine.remote.errors import ChannelError, NodeError
from images.layers.merged import open_node, read_xattrs

if TYPE_CHECKING:
    from builder.inputs import LocalInputs
    from images.layers.merged import Node

FILE: Final = "f"
DIRECTORY: Final = "d"
LINK: Final = "l"
FIFO: Final = "p"
_KINDS: Final = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: LINK,
    stat.S_IFIFO: FIFO,
}
ROWS: Final = 1_000_000
"""Most files of a context."""
PATH_LIMIT: Final = 4096
"""Bytes of a path with its end, PATH_MAX of <linux/limits.h>; a link's text is one."""
NAME_LIMIT: Final = 255
XATTR_LIMIT: Final = 64 << 10
_INT64: Final = 1 << 63


class Row(NamedTuple):
    """One object of a context.

    Attributes:
        path: relative, its directory has a row before it.
        kind: ``f``, ``d``, ``l`` or ``p`` as in find(1).
        mode: permission bits.
        size: bytes of a file.
        mtime: nanoseconds since the epoch.
        content: what identifies a file's bytes and attributes; the text of a link.
        xattrs: extended attributes, values in base64.
    """

    path: str
    kind: str
    mode: int
    size: int
    mtime: int
    content: str
    xattrs: dict[str, str]


class ContextListing:
    """A context of this machine, as it is now; digests are remembered in ``state``."""

    def __init__(self, inputs: LocalInputs, state: Path) -> None:
        ignore = None
        if inputs.ignore is not None:
            ignore = IgnorePatterns.parse(inputs.ignore, filename=inputs.ignore_name)
        self._tree = ContextTree(inputs.path, ignore, name=inputs.name)
        self._remembered = digest_file(state / "digests", inputs.path)
        self._digests = FileDigests.load(self._remembered, time.time_ns())
        self._nodes = list(self._tree.walk())

    def rows(self) -> list[Row]:
        """All rows, parents first.

        Raises:
            NodeError: a device, which a context cannot hold elsewhere.
            BuildInputError, OSError: the context cannot be read.
        """
        rows = [self._row(node) for node in self._nodes]
        self._digests.save(self._remembered)
        return rows

    def contents(self, wanted: Sequence[int]) -> Iterator[bytes]:
        """The bytes of the files with these numbers, one after the other.

        Raises:
            NodeError: a file changed since it was listed.
        """
        for number in wanted:
            node = self._nodes[number]
            if not node.is_file:
                raise ChannelError(f"the other end asks for the bytes of {node.path}")
            left = node.status.st_size
            with open_node(node) as file:
                while left and (piece := file.read(min(left, PIECE))):
                    left -= len(piece)
                    yield piece
            if left:
                raise NodeError(
                    f"{node.path} became shorter while it was sent",
                    fix="build again when nothing writes to the sources",
                )

    def _row(self, node: Node) -> Row:
        status = node.status
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            raise NodeError(
                f"{node.path} is a device",
                fix="leave it out of the context: name it in .dockerignore",
            )
        content, attributes = "", {}
        if kind == FILE:
            content = self._digests.of(node).hex()
            attributes = {
                name: base64.b64encode(value).decode()
                for name, value in read_xattrs(node.real).items()
            }
        elif kind == LINK:
            content = self._tree.read_link(node.path)
        mode = stat.S_IMODE(status.st_mode)
        size = status.st_size if kind == FILE else 0
        return Row(node.path, kind, mode, size, status.st_mtime_ns, content, attributes)


def read_rows(value: Any) -> list[Row]:
    """Rows from the other end, each checked by itself and against those before it.

    Raises:
        ChannelError: not rows, or a path that could lead elsewhere.
    """
    if not isinstance(value, list) or len(value) > ROWS:
        raise ChannelError("the list of files is not understood")
    directories = {""}
    rows = []
    for item in value:
        if not isinstance(item, list) or len(item) != len(Row._fields):
            raise ChannelError("a row of the list of files is not understood")
        row = Row(*item)
        if not _sound(row) or os.path.dirname(row.path) not in directories:
            raise ChannelError(f"the list of files holds {str(row.path)[:100]!r}")
        if row.kind == DIRECTORY:
            directories.add(row.path)
        rows.append(row)
    if len({row.path for row in rows}) != len(rows):
        raise ChannelError("the list of files names one twice")
    return rows


def _sound(row: Row) -> bool:
    numbers = (row.mode, row.size, row.mtime)
    return (
        all(_is_text(text, PATH_LIMIT) for text in (row.path, row.kind, row.content))
        and all(type(number) is int for number in numbers)
        and 0 <= row.size < _INT64
        and 0 <= row.mode <= 0o7777
        and -_INT64 <= row.mtime < _INT64
        and row.kind in (FILE, DIRECTORY, LINK, FIFO)
        and (row.kind != LINK or row.content != "")
        and _are_attributes(row.xattrs)
        and not {"", ".", ".."}.intersection(row.path.split("/"))
        and all(len(os.fsencode(name)) <= NAME_LIMIT for name in row.path.split("/"))
    )


def _is_text(value: Any, limit: int) -> bool:
    """Whether it can be given to the kernel."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return len(os.fsencode(value)) < limit
    except UnicodeEncodeError:
        return False


def _are_attributes(value: Any) -> bool:
    """Whether they are names, and values in base64, as xattr(7) bounds them."""
    if not isinstance(value, dict):
        return False
    for name, text in value.items():
        if not _is_text(name, NAME_LIMIT + 1) or not _is_text(text, XATTR_LIMIT * 2):
            return False
        try:
            if len(base64.b64decode(text, validate=True)) > XATTR_LIMIT:
                return False
        except ValueError:
            return False
    return True
