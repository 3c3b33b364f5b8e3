"""Entries to tar, the same bytes every time.

POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), with PAX extended headers only where
ustar cannot say it: names that are long or not ASCII, sizes of 8 GiB and more, large ids, times
before 1970, extended attributes. Times are whole seconds. No user or group names, no access or
change times, nothing of the host. The order of the entries is the caller's.

Output comes in blocks of exactly ``BLOCK`` bytes (the last one may be shorter), because files are
read straight into the block and because compressors want equal cuts. A block handed out is never
touched again.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self
from zlib import adler32

from images.errors import InputError
from images.layers import entry as kinds
from images.layers.compress import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from images.layers.entry import Entry

RECORD: Final = 512
"""Bytes that everything in a tar is a multiple of."""
_TYPES: Final = {
    kinds.FILE: b"0",
    kinds.HARDLINK: b"1",
    kinds.SYMLINK: b"2",
    kinds.CHARACTER: b"3",
    kinds.BLOCK: b"4",
    kinds.DIRECTORY: b"5",
    kinds.FIFO: b"6",
}
_MAX_ID: Final = 0o7777777
_MAX_SIZE: Final = 0o77777777777
_MAX_TIME: Final = _MAX_SIZE * 1_000_000_000
_ZEROS: Final = bytes(RECORD)
_MAGIC: Final = b"ustar\x0000" + bytes(64)
_NO_SUM: Final = b" " * 8
_PLAIN: Final = (kinds.FILE, kinds.DIRECTORY)
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def write_tar(entries: Iterable[Entry], sink: Callable[[bytearray | memoryview], object]) -> int:
    """Write an archive of ``entries`` to ``sink``; returns its length in bytes.

    Raises:
        InputError: a file is shorter than its entry says, or an entry cannot be said in tar.
        OSError: a source cannot be read.
    """
    blocks = _Blocks(sink)
    with Sources() as sources:
        for entry in entries:
            blocks.write(header(entry))
            if entry.kind == kinds.FILE and entry.size:
                _write_body(entry, blocks, sources)
                blocks.pad()
    blocks.write(_ZEROS * 2)
    return blocks.finish()


def header(entry: Entry) -> bytes:
    """The header records of one entry: 512 bytes, or more when it needs a PAX header."""
    path, kind = entry.path, entry.kind
    if len(path) < 100 and path.isascii() and kind in _PLAIN and path and not entry.xattrs:
        seconds, size = entry.mtime // 1_000_000_000, entry.size
        uid, gid = entry.uid, entry.gid
        if 0 <= seconds <= _MAX_SIZE >= size and uid <= _MAX_ID >= gid:
            # Nearly every file of every layer: nothing is checked or padded more than once, and
            # what all files of an owner and mode have in common is made once.
            name = path.encode() if kind == kinds.FILE else path.encode() + b"/"
            numbers = b"%011o\0%011o\0" % (size, seconds)
            owner, rest, total = _common(kind, entry.mode & 0o7777, uid, gid)
            total += _sum(name + numbers)
            return name.ljust(100, b"\0") + owner + numbers + b"%06o" % total + rest
    return _any_header(entry)


def header_length(entry: Entry) -> int:
    """The length of ``header(entry)``."""
    path = entry.path
    if (
        len(path) < 100
        and path.isascii()
        and entry.kind in _PLAIN
        and not entry.xattrs
        and 0 <= entry.mtime <= _MAX_TIME
        and entry.size <= _MAX_SIZE
        and entry.uid <= _MAX_ID >= entry.gid
    ):
        return RECORD
    return len(header(entry))


@lru_cache(maxsize=512)
def _common(kind: str, mode: int, uid: int, gid: int) -> tuple[bytes, bytes, int]:
    """Mode and owner; what follows the digits of the checksum; and the sum of all these bytes."""
    owner = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    rest = _TYPES[kind] + bytes(100) + _MAGIC + b"0000000\x000000000\0" + bytes(167)
    return owner, b"\0 " + rest, sum(owner + _NO_SUM + rest)


def _sum(part: bytes) -> int:
    """The sum of the bytes of half a record at most."""
    # The low half of an Adler-32 is 1 plus that sum, and C adds faster than ``sum``.
    return (adler32(part) & 0xFFFF) - 1


def _any_header(entry: Entry) -> bytes:
    name = os.fsencode(entry.path) if entry.path else b"./"
    if entry.kind == kinds.DIRECTORY and entry.path:
        name += b"/"
    link = os.fsencode(entry.linkname)
    seconds = entry.mtime // 1_000_000_000
    prefix = b""
    plain = (
        len(link) <= 100
        and entry.uid <= _MAX_ID
        and entry.gid <= _MAX_ID
        and entry.size <= _MAX_SIZE
        and 0 <= seconds <= _MAX_SIZE
        and not entry.xattrs
        and name.isascii()
        and link.isascii()
    )
    if len(name) > 100:
        split = _split(name) if name.isascii() else None
        if split is None:
            plain = False
        else:
            prefix, name = split
    if plain:
        return _ustar(entry, name, prefix, link, entry.size, entry.uid, entry.gid, seconds)
    return _extended(entry, name, prefix, link, seconds)


def _extended(entry: Entry, name: bytes, prefix: bytes, link: bytes, seconds: int) -> bytes:
    """A PAX header with what ustar cannot hold, then a ustar header with what fits."""
    records: dict[str, bytes] = {}
    if not _fits(name):
        records["path"] = name
        name = _ascii(name)
    if not _fits(link):
        records["linkpath"] = link
        link = _ascii(link)
    if not all(map(_is_utf8, records.values())):
        records["hdrcharset"] = b"BINARY"
    numbers = {"size": entry.size, "uid": entry.uid, "gid": entry.gid, "mtime": seconds}
    for key, value in numbers.items():
        if not 0 <= value <= (_MAX_ID if key.endswith("id") else _MAX_SIZE):
            records[key] = b"%d" % value
            numbers[key] = 0
    for key, attribute in entry.xattrs.items():
        if "=" in key:
            raise InputError(f"extended attribute {key!r} cannot be archived", where=entry.path)
        records[f"SCHILY.xattr.{key}"] = attribute
    plain = _ustar(
        entry, name, prefix, link, numbers["size"], numbers["uid"], numbers["gid"], numbers["mtime"]
    )
    return _pax(entry.name, records) + plain if records else plain


def _pax(name: str, records: dict[str, bytes]) -> bytes:
    body = b"".join(_pax_record(os.fsencode(key), records[key]) for key in sorted(records))
    title = b"PaxHeaders.0/" + _ascii(os.fsencode(name))[:80]
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0o644, 0, 0, len(body), 0)
    return _checksummed(title, fields, b"x", b"", b"0000000\x000000000\0", b"") + _padded(body)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """``length key=value\\n`` where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(
    entry: Entry,
    name: bytes,
    prefix: bytes,
    link: bytes,
    size: int,
    uid: int,
    gid: int,
    seconds: int,
) -> bytes:
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (entry.mode & 0o7777, uid, gid, size, seconds)
    devices = b"%07o\0%07o\0" % (entry.major, entry.minor)
    return _checksummed(name, fields, _TYPES[entry.kind], link, devices, prefix)


def _checksummed(
    name: bytes, fields: bytes, kind: bytes, link: bytes, devices: bytes, prefix: bytes
) -> bytes:
    tail = kind + link.ljust(100, b"\0") + _MAGIC + devices + prefix.ljust(167, b"\0")
    return _checked(b"%b%b%b%b" % (name.ljust(100, b"\0"), fields, _NO_SUM, tail))


def _checked(record: bytes) -> bytes:
    """A header record with its checksum in place of the blanks."""
    # Half a record stays below the modulus of Adler-32.
    total = _sum(record[:256]) + _sum(record[256:])
    return b"%b%06o\0 %b" % (record[:148], total, record[156:])


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Cut a name at a slash into a prefix of at most 155 bytes and a rest of at most 100."""
    if len(name) > 256:
        return None
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > 100:
        return None
    return name[:cut], name[cut + 1 :]


def _fits(name: bytes) -> bool:
    """Whether a ustar field can hold the name: short, and ASCII or not text at all."""
    if len(name) > 100:
        return False
    return name.isascii() or not _is_utf8(name)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _ascii(name: bytes) -> bytes:
    """What an archiver that knows no PAX shall see of a long or non-ASCII name."""
    return bytes(byte if byte < 0x80 else 0x5F for byte in name[-100:].lstrip(b"/"))


def _padded(body: bytes) -> bytes:
    return body + bytes(-len(body) % RECORD)


class Sources:
    """Opens host files, those of one directory through a descriptor of it: entries come sorted, and
    the kernel need not walk the directory's path for each.
    """

    def __init__(self) -> None:
        self._parent: str | None = None
        self._folder = -1

    def open(self, path: str) -> int:
        """Open a file that is no link; the caller closes it."""
        parent, slash, name = path.rpartition("/")
        if parent != self._parent:
            self._leave()
            # The second file of a directory pays for the descriptor.
            self._parent = parent
            return os.open(path, _OPEN_FLAGS)
        if self._folder < 0:
            self._folder = os.open(parent + slash or ".", os.O_PATH | os.O_CLOEXEC)
        return os.open(name, _OPEN_FLAGS, dir_fd=self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def _write_body(entry: Entry, blocks: _Blocks, sources: Sources) -> None:
    source = entry.source
    if isinstance(source, bytes):
        if len(source) != entry.size:
            raise changed(entry, len(source))
        blocks.write(source)
        return
    if isinstance(source, str):
        fd = sources.open(source)
        try:
            missing = blocks.read_descriptor(fd, entry.size)
        finally:
            os.close(fd)
    else:
        with entry.open_source() as file:
            # RawIOBase and BufferedIOBase both have readinto; BinaryIO does not say so.
            missing = blocks.read_from(file.readinto, entry.size)  # type: ignore[attr-defined]
    if missing:
        raise changed(entry, entry.size - missing)


def changed(entry: Entry, found: int) -> InputError:
    """The error for a file that has ``found`` bytes where its entry says otherwise."""
    return InputError(
        f"has {found} bytes where {entry.size} were expected; it changed while it was read",
        where=entry.source if isinstance(entry.source, str) else entry.path,
        fix="let nothing write to the files of a build while it runs",
    )


class _Blocks:
    """The stream, cut into blocks that are filled in place."""

    def __init__(self, sink: Callable[[bytearray | memoryview], object]) -> None:
        self._sink = sink
        self._block = bytearray(BLOCK)
        self._view = memoryview(self._block)
        self._used = 0
        self._sunk = 0

    def write(self, data: bytes) -> None:
        end = self._used + len(data)
        if end <= BLOCK:
            self._view[self._used : end] = data
            self._used = end
            return
        view = memoryview(data)
        while view:
            if self._used == BLOCK:
                self._flush()
            piece = view[: BLOCK - self._used]
            self._view[self._used : self._used + len(piece)] = piece
            self._used += len(piece)
            view = view[len(piece) :]

    def read_descriptor(self, fd: int, size: int) -> int:
        """Fill from an open file; returns how many of ``size`` bytes it could not give."""
        end = self._used + size
        if end <= BLOCK:
            # A small file is one call; what a signal or a network disk cuts short goes on below.
            got = os.readv(fd, (self._view[self._used : end],))
            self._used += got
            size -= got
        return self.read_from(lambda view: os.readv(fd, (view,)), size) if size else 0

    def read_from(self, readinto: Callable[[memoryview], int | None], size: int) -> int:
        """Fill from a file; returns how many of ``size`` bytes it could not give."""
        while size:
            if self._used == BLOCK:
                self._flush()
            got = readinto(self._view[self._used : min(BLOCK, self._used + size)])
            if not got:
                return size
            self._used += got
            size -= got
        return 0

    def pad(self) -> None:
        # Blocks are whole records long and begin as zeros.
        self._used += -self._used % RECORD

    def finish(self) -> int:
        length = self._sunk + self._used
        if self._used:
            self._sink(self._view[: self._used])
        return length

    def _flush(self) -> None:
        self._sink(self._block)
        self._sunk += self._used
        self._block, self._used = bytearray(BLOCK), 0
        self._view = memoryview(self._block)
