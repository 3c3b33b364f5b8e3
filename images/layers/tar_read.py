"""Tar to entries: strict, bounded, streamed.

Reads ustar, old (V7) headers, GNU long names and sparse files, PAX headers. Where readers in the
field disagree we do what Docker's reader does or refuse: a difference between two readers is a way
to show one image to the scanner and another to the kernel. Refused are absolute ambiguity (``..``,
NUL in a name), unknown types, global PAX headers that would change entries, and everything beyond
``Limits``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from images.errors import InvalidArchiveError, SizeLimitError
from images.layers import entry as kinds
from images.layers import sparse
from images.layers.entry import NO_XATTRS, Entry
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RECORD: Final = 512
_ZEROS: Final = bytes(_RECORD)
_PIECE: Final = 1 << 20
_ID_LIMIT: Final = 2**32 - 2
_TIME_LIMIT: Final = 2**40
_XATTR: Final = "SCHILY.xattr."
_KINDS: Final = {
    b"0": kinds.FILE,
    b"\0": kinds.FILE,
    b"S": kinds.FILE,
    b"1": kinds.HARDLINK,
    b"2": kinds.SYMLINK,
    b"3": kinds.CHARACTER,
    b"4": kinds.BLOCK,
    b"5": kinds.DIRECTORY,
    b"6": kinds.FIFO,
}
_HARMLESS_GLOBALS: Final = frozenset(
    {"comment", "charset", "hdrcharset", "mtime", "atime", "ctime"}
)


class Readable(Protocol):
    """What an archive is read from: a file, a pipe, ``Decompressed``."""

    def read(self, size: int, /) -> bytes | memoryview:
        """At most ``size`` bytes, empty only at the end."""


class Limits(Record):
    """How much an archive may ask for; sizes in bytes."""

    entries: int = 5_000_000
    total_size: int = 512 << 30
    """Apparent size of all files together, holes included."""
    file_size: int = 512 << 30
    name: int = 4096
    depth: int = 256
    """Parts of a path; deeper trees exist to break the programs that walk them."""
    header: int = 1 << 20
    """One PAX or long-name header, so also all extended attributes of one file."""


def read_tar(
    stream: Readable, *, limits: Limits | None = None, clamp: bool = False
) -> Iterator[tuple[Entry, Body]]:
    """Yield each entry with its body; a body that is not read is skipped.

    Paths and hard link targets come out relative and normalised. ``..`` is refused, or with
    ``clamp`` resolved within the root, as ADD does. Overlayfs's own extended attributes are
    dropped, since they would steer the mount.

    Raises:
        InvalidArchiveError: malformed, truncated, or a form that is refused.
        SizeLimitError: more than ``limits`` allow.
    """
    return _Reader(stream, limits or Limits(), clamp=clamp).entries()


class Body:
    """The content of one regular file, to be read before the next entry is asked for."""

    def __init__(
        self, stream: _Stream, stored: int, size: int, segments: list[sparse.Segment] | None = None
    ) -> None:
        self._stream = stream
        self._left = stored
        self._padding = -stored % _RECORD
        self.size = size
        self.segments = [(0, size)] if segments is None else segments
        self._dense = self._filled()
        self._rest: bytes | memoryview = b""

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """The stored bytes as (offset, bytes); between them are holes of zeros."""
        for offset, length in self.segments:
            position, end = offset, offset + length
            while position < end:
                piece = self._stream.some(end - position)
                self._left -= len(piece)
                yield position, piece
                position += len(piece)

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, holes filled with zeros; fewer only at the end."""
        result = bytearray()
        while size < 0 or len(result) < size:
            if not self._rest:
                self._rest = next(self._dense, b"")
                if not self._rest:
                    break
            taken = self._rest if size < 0 else self._rest[: size - len(result)]
            result += taken
            self._rest = self._rest[len(taken) :]
        return bytes(result)

    def skip(self) -> None:
        """Pass over what was not read, and the padding."""
        while self._left:
            self._left -= len(self._stream.some(self._left))
        if self._padding:
            self._stream.take(self._padding)
            self._padding = 0

    def _filled(self) -> Iterator[bytes | memoryview]:
        position = 0
        for offset, piece in self.pieces():
            yield from _hole(offset - position)
            yield piece
            position = offset + len(piece)
        yield from _hole(self.size - position)


def _hole(length: int) -> Iterator[bytes]:
    for at in range(0, length, _PIECE):
        yield bytes(min(_PIECE, length - at))


class _Stream:
    """Exact and partial reads over pieces of any size."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._chunk = memoryview(b"")

    def some(self, size: int) -> memoryview:
        """Between one and ``size`` bytes."""
        if not self._chunk:
            self._chunk = memoryview(self._source.read(_PIECE))
            if not self._chunk:
                raise InvalidArchiveError("archive is truncated")
        piece = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return piece

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        piece = self.some(size)
        if len(piece) == size:
            return bytes(piece)
        result = bytearray(piece)
        while len(result) < size:
            result += self.some(size - len(result))
        return bytes(result)

    def record(self) -> bytes | None:
        """The next 512 bytes, or None when the stream ends here."""
        if not self._chunk:
            self._chunk = memoryview(self._source.read(_PIECE))
            if not self._chunk:
                return None
        return self.take(_RECORD)


class _Reader:
    def __init__(self, source: Readable, limits: Limits, *, clamp: bool) -> None:
        self._stream = _Stream(source)
        self._limits = limits
        self._clamp = clamp
        self._pax: dict[str, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._entries = 0
        self._total = 0

    def entries(self) -> Iterator[tuple[Entry, Body]]:
        while True:
            header = self._stream.record()
            if header is None:
                break
            if header == _ZEROS:
                if self._stream.record() not in (None, _ZEROS):
                    raise InvalidArchiveError("data after a zero record")
                break
            _verify_checksum(header)
            if self._extension(header):
                continue
            entry, body = self._entry(header)
            self._pax, self._long_name, self._long_link = {}, None, None
            yield entry, body
            body.skip()
        if self._pax or self._long_name is not None or self._long_link is not None:
            raise InvalidArchiveError("extended header without an entry")

    def _extension(self, header: bytes) -> bool:
        """Take in a header that only describes the next one."""
        kind = header[156:157]
        if kind not in b"xgLK" or not kind:
            return False
        size = _number(header[124:136])
        if not 0 <= size <= self._limits.header:
            raise SizeLimitError(f"extended header of {size} bytes is too long")
        data = self._stream.take(size) if size else b""
        if size % _RECORD:
            self._stream.take(-size % _RECORD)
        if kind == b"x":
            self._pax = parse_pax(data)
        elif kind == b"g":
            risky = sorted(set(parse_pax(data)) - _HARMLESS_GLOBALS)
            if risky:
                raise InvalidArchiveError(f"global header sets {risky[0]!r} for all entries")
        elif kind == b"L":
            self._long_name = data.partition(b"\0")[0]
        else:
            self._long_link = data.partition(b"\0")[0]
        return True

    def _entry(self, header: bytes) -> tuple[Entry, Body]:
        flag, pax = header[156:157], self._pax
        kind = _KINDS.get(flag)
        raw_name = self._name(header)
        if kind is None:
            raise InvalidArchiveError(f"unsupported entry type {flag!r}", where=_show(raw_name))
        if kind == kinds.FILE and raw_name.endswith(b"/"):
            kind = kinds.DIRECTORY
        path = self._normalised(raw_name)
        if not path and kind != kinds.DIRECTORY:
            raise InvalidArchiveError("the root can only be a directory", where=_show(raw_name))
        body = self._body(header, flag) if kind == kinds.FILE else Body(self._stream, 0, 0)
        self._account(body.size)
        device = kind in (kinds.CHARACTER, kinds.BLOCK)
        entry = Entry(
            path,
            kind,
            _number(header[100:108]) & 0o7777,
            self._owner(header[108:116], "uid"),
            self._owner(header[116:124], "gid"),
            body.size,
            self._mtime(header),
            self._link(header, kind) if kind in (kinds.SYMLINK, kinds.HARDLINK) else "",
            _device(header[329:337]) if device else 0,
            _device(header[337:345]) if device else 0,
            _xattrs(pax) if pax else NO_XATTRS,
        )
        return entry, body

    def _name(self, header: bytes) -> bytes:
        if self._long_name is not None:
            return self._long_name
        pax = self._pax
        if pax:
            name = pax.get("GNU.sparse.name") or pax.get("path")
            if name:
                return name
        name = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and header[345]:
            return header[345:500].partition(b"\0")[0] + b"/" + name
        return name

    def _link(self, header: bytes, kind: str) -> str:
        link = self._long_link
        if link is None:
            link = self._pax.get("linkpath") or header[157:257].partition(b"\0")[0]
        if not link or b"\0" in link or len(link) > self._limits.name:
            raise InvalidArchiveError("link without a usable target", where=_show(link))
        return self._normalised(link) if kind == kinds.HARDLINK else os.fsdecode(link)

    def _normalised(self, name: bytes) -> str:
        if b"\0" in name or len(name) > self._limits.name:
            raise InvalidArchiveError("name is too long or contains NUL", where=_show(name))
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not self._clamp:
                    raise InvalidArchiveError("name tries to leave the root", where=_show(name))
                del parts[-1:]
            elif part not in (b"", b"."):
                parts.append(part)
        if len(parts) > self._limits.depth:
            raise InvalidArchiveError("path is nested too deeply", where=_show(name))
        return os.fsdecode(b"/".join(parts))

    def _body(self, header: bytes, flag: bytes) -> Body:
        stored = _number(header[124:136])
        pax = self._pax
        if "size" in pax:
            stored = sparse.decimal(pax["size"])
        if not 0 <= stored <= self._limits.file_size:
            raise SizeLimitError(f"file of {stored} bytes is larger than the limit")
        stream = self._stream
        if flag == b"S":
            segments, size = sparse.old_gnu_map(header, stream.take, _number)
            return Body(stream, stored, size, sparse.check(segments, size, stored))
        found = sparse.pax_map(pax, stream.take) if pax else None
        if found is None:
            return Body(stream, stored, stored)
        segments, size, used = found
        return Body(stream, stored - used, size, sparse.check(segments, size, stored - used))

    def _account(self, size: int) -> None:
        self._entries += 1
        self._total += size
        limits = self._limits
        if self._entries > limits.entries:
            raise SizeLimitError(f"archive has more than {limits.entries} entries")
        if not 0 <= size <= limits.file_size or self._total > limits.total_size:
            raise SizeLimitError(
                f"archive unpacks to more than {min(limits.total_size, limits.file_size)} bytes"
            )

    def _owner(self, field: bytes, key: str) -> int:
        value = sparse.decimal(self._pax[key]) if key in self._pax else _number(field)
        if not 0 <= value <= _ID_LIMIT:
            raise InvalidArchiveError(f"{key} {value} is out of range")
        return value

    def _mtime(self, header: bytes) -> int:
        text = self._pax.get("mtime")
        if text is None:
            seconds, nanoseconds = _number(header[136:148]), 0
        else:
            whole, _, fraction = text.partition(b".")
            sign = -1 if whole.startswith(b"-") else 1
            nanoseconds = sign * sparse.decimal((fraction[:9] or b"0").ljust(9, b"0"))
            seconds = sign * sparse.decimal(whole.removeprefix(b"-"))
        if abs(seconds) > _TIME_LIMIT:
            raise InvalidArchiveError(f"time {seconds} is out of range")
        return seconds * 1_000_000_000 + nanoseconds


def parse_pax(data: bytes) -> dict[str, bytes]:
    """The records of a PAX header.

    Raises:
        InvalidArchiveError: a record is malformed.
    """
    records: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        # Where no length stands, the rest must not be read as though one did.
        length = sparse.decimal(data[at:space]) if space > at else 0
        record = data[space + 1 : at + length] if length else b""
        key, equals, value = record.partition(b"=")
        if at + length > len(data) or not record.endswith(b"\n") or not key or not equals:
            raise InvalidArchiveError("PAX header is malformed")
        records[os.fsdecode(key)] = value[:-1]
        at += length
    return records


def _verify_checksum(header: bytes) -> None:
    stored = _number(header[148:156])
    rest = sum(header) - sum(header[148:156]) + 8 * 0x20
    if stored == rest:
        return
    high = sum(byte > 0x7F for byte in header[:148] + header[156:])
    if stored != rest - 256 * high:  # some old archivers summed signed bytes
        raise InvalidArchiveError("archive is damaged or not a tar archive: wrong header checksum")


def _number(field: bytes) -> int:
    """Octal text, or GNU's base-256 for numbers that do not fit."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8) if text.isdigit() else _malformed(field)
    except ValueError:
        return _malformed(field)


def _malformed(field: bytes) -> int:
    raise InvalidArchiveError(f"malformed number {field!r}")


def _device(field: bytes) -> int:
    value = _number(field)
    if not 0 <= value < 1 << 20:
        raise InvalidArchiveError(f"device number {value} is out of range")
    return value


def _xattrs(pax: Mapping[str, bytes]) -> Mapping[str, bytes]:
    found = {
        key[len(_XATTR) :]: value
        for key, value in sorted(pax.items())
        if key.startswith(_XATTR)
        and not key[len(_XATTR) :].startswith(("trusted.overlay.", "user.overlay."))
    }
    return found or NO_XATTRS


def _show(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")
