"""Go programs: the build information that the linker leaves in every binary.

Go's debug/buildinfo: the mark ``\\xff Go buildinf:``, a byte of pointer size, a byte of flags.
Since Go 1.18 (flag 2) two strings follow at offset 32, each after its length as a varint: the
version of Go, and the modules as lines, in 16 bytes of frame at either end. Binaries of older
releases point to their strings through their own memory image, and are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from images.packages.model import DamagedPackageDataError, Package, clean

MARK: Final = b"\xff Go buildinf:"
ALIGNMENT: Final = 16
INFO_LIMIT: Final = 4 << 20
"""Bytes after the mark that are read."""

_INLINE: Final = 2
_STRINGS: Final = 32
_FRAME: Final = 16
_MODULES: Final = 50_000


def find_info(pieces: Iterable[bytes | memoryview]) -> bytes | None:
    """The bytes from the mark on, of a file that comes in pieces; None where there is no mark.

    Nothing but ``INFO_LIMIT`` bytes is kept, however long the file.
    """
    found = bytearray()
    tail, position = b"", 0
    for piece in pieces:
        if found:
            found += piece
        else:
            window = tail + bytes(piece)
            at = _aligned(window, position - len(tail))
            position += len(piece)
            if at is not None:
                found += window[at:]
            # The mark may lie across the border of two pieces.
            tail = window[-(len(MARK) - 1) :]
        if len(found) >= INFO_LIMIT:
            break
    return bytes(found[:INFO_LIMIT]) or None


def _aligned(window: bytes, offset: int) -> int | None:
    at = window.find(MARK)
    while at >= 0:
        if (offset + at) % ALIGNMENT == 0:
            return at
        at = window.find(MARK, at + 1)
    return None


def parse_info(data: bytes, path: str) -> list[Package]:
    """The modules a program is made of, Go's own library first; none before Go 1.18.

    Raises:
        DamagedPackageDataError: cut short, or absurd.
    """
    if len(data) < _STRINGS or not data[len(MARK) + 1] & _INLINE:
        return []
    version, rest = _string(data, _STRINGS)
    modules, _ = _string(data, rest)
    release = clean(version.decode("utf-8", "replace")).split(" ")[0].removeprefix("go")
    found = [Package("golang", "stdlib", release, files=(path,))] if release else []
    text = modules[_FRAME:-_FRAME].decode("utf-8", "replace")
    lines = [line.split("\t") for line in text.split("\n")[:_MODULES]]
    for number, line in enumerate(lines):
        if line[0] == "=>" or (line[0] in ("mod", "dep") and not _is_replaced(lines, number)):
            found += _module(line, path)
    return found


def _is_replaced(lines: list[list[str]], number: int) -> bool:
    """Whether the next line says what really was built in its place."""
    return number + 1 < len(lines) and lines[number + 1][0] == "=>"


def _module(line: list[str], path: str) -> list[Package]:
    if len(line) < 3:
        return []
    namespace, _, name = clean(line[1]).rpartition("/")
    version = clean(line[2])
    # What was built from a checkout without tags has no version to name.
    version = "" if version == "(devel)" else version
    if not name:
        return []
    return [Package("golang", name, version, namespace=namespace, files=(path,))]


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string after its length, and where it ends."""
    length = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            raise DamagedPackageDataError("the build information of a Go program is cut short")
        byte = data[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    if at + length > len(data):
        raise DamagedPackageDataError("the build information of a Go program is cut short")
    return data[at : at + length], at + length
