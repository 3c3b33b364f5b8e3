"""eStargz: a gzip layer whose files can be fetched one by one, and which any tool can unpack.

The format of containerd's stargz-snapshotter (docs/estargz.md): every file, or piece of
``CHUNK`` bytes of it, begins a gzip member of its own; the last tar entry lists all entries with
the offsets of their members (the TOC); a footer of 51 bytes says where the TOC begins. The
landmark at the front says that nothing of the layer is worth fetching ahead.

The TOC is part of the tar, so the layer's diff id is another one than before the conversion. The
bytes depend on the entries and the level alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.layers import entry as kinds
from images.layers.compress import GZIP_HEADER, GZIP_LEVEL, crc_of
from images.layers.entry import Entry
from images.layers.pack import PackedLayer
from images.layers.tar_write import RECORD, changed, header
from images.mediatype import OCI_LAYER_GZIP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from images.blobs import BlobStore

CHUNK: Final = 4 << 20
"""Bytes of a file that are compressed together."""
TOC_NAME: Final = "stargz.index.json"
NO_PREFETCH: Final = ".no.prefetch.landmark"
PREFETCH: Final = ".prefetch.landmark"
TOC_DIGEST_ANNOTATION: Final = "containerd.io/snapshot/stargz/toc.digest"
SIZE_ANNOTATION: Final = "io.containers.estargz.uncompressed-size"

_LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999."""
_OWN_NAMES: Final = frozenset({TOC_NAME, NO_PREFETCH, PREFETCH})
_LANDMARK: Final = Entry(NO_PREFETCH, kinds.FILE, size=1, source=b"\x0f")
_TYPES: Final = {
    kinds.FILE: "reg",
    kinds.DIRECTORY: "dir",
    kinds.SYMLINK: "symlink",
    kinds.HARDLINK: "hardlink",
    kinds.CHARACTER: "char",
    kinds.BLOCK: "block",
    kinds.FIFO: "fifo",
}


def pack_estargz(
    entries: Iterable[Entry], blobs: BlobStore, *, level: int | None = None
) -> PackedLayer:
    """Write ``entries``, in their order, as an eStargz layer; what an earlier one added is left
    out.

    ``level`` is zlib's; None is our fast one. The descriptor has the TOC's digest.

    Raises:
        InputError: a file is shorter than its entry says.
        EnvironmentFault: the disk is full or failing; nothing is kept.
    """
    with blobs.writer() as writer:
        members = _Members(writer.write, level)
        toc = _Contents(members)
        toc.add(_LANDMARK)
        for entry in entries:
            if entry.path not in _OWN_NAMES:
                toc.add(entry)
        toc_digest = toc.finish()
        size = writer.written
        digest = writer.commit()
    annotations = {TOC_DIGEST_ANNOTATION: str(toc_digest), SIZE_ANNOTATION: str(members.plain)}
    descriptor = Descriptor(OCI_LAYER_GZIP, digest, size, annotations)
    return PackedLayer(Digest.from_hash(members.hasher), descriptor, members.plain)


def footer(toc_offset: int) -> bytes:
    """An empty gzip member whose extra field (RFC 1952, 2.3.1.1) holds the TOC's offset."""
    extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % toc_offset
    head = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff" + struct.pack("<H", len(extra)) + extra
    return head + b"\x01\x00\x00\xff\xff" + bytes(8)


class _Members:
    """The stream of gzip members, and where it stands."""

    def __init__(self, sink: Callable[[bytes], object], level: int | None) -> None:
        self._sink = sink
        self._level = level
        self._deflate: Any = None
        self._crc = 0
        self._size = 0
        self.offset = 0
        """Where the next member begins, when the last one was ended."""
        self.plain = 0
        self.hasher = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add to the member, beginning one where none is open."""
        if self._deflate is None:
            self._deflate = _deflater(self._level)
            self._crc = self._size = 0
            self._out(GZIP_HEADER)
        self.hasher.update(data)
        self.plain += len(data)
        self._crc = crc_of(data, self._crc)
        self._size += len(data)
        self._out(self._deflate.compress(data))

    def end(self) -> None:
        """End the member, if one is open."""
        if self._deflate is not None:
            trailer = struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
            self._out(self._deflate.flush() + trailer)
            self._deflate = None

    def _out(self, data: bytes) -> None:
        self._sink(data)
        self.offset += len(data)

    def append(self, data: bytes) -> None:
        """Add bytes that are no part of the tar."""
        self.end()
        self._out(data)


def _deflater(level: int | None) -> Any:
    if level is None:
        from isal import isal_zlib

        return isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, -15)
    import zlib

    return zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)


class _Contents:
    """Writes entries and remembers what the TOC has to say of them."""

    def __init__(self, members: _Members) -> None:
        self._members = members
        self._rows: list[dict[str, Any]] = []

    def add(self, entry: Entry) -> None:
        """Write one entry."""
        row = _row(entry)
        self._rows.append(row)
        self._members.write(header(entry))
        if entry.kind == kinds.FILE and entry.size:
            self._body(entry, row)

    def finish(self) -> Digest:
        """Write the TOC and the footer; returns the TOC's digest."""
        text = json.dumps({"version": 1, "entries": self._rows}, separators=(",", ":")).encode()
        self._members.end()
        offset = self._members.offset
        self._members.write(header(Entry(TOC_NAME, kinds.FILE, size=len(text))))
        self._members.write(text + bytes(-len(text) % RECORD) + bytes(2 * RECORD))
        self._members.append(footer(offset))
        return Digest.of(text)

    def _body(self, entry: Entry, row: dict[str, Any]) -> None:
        whole = hashlib.sha256()
        first, position = row, 0
        for chunk in _chunks(entry):
            self._members.end()
            if position:
                row = {"name": row["name"], "type": "chunk", "chunkOffset": position}
                self._rows.append(row)
            row["offset"] = self._members.offset
            if len(chunk) == CHUNK:
                row["chunkSize"] = CHUNK
            row["chunkDigest"] = str(Digest.of(chunk))
            whole.update(chunk)
            self._members.write(chunk)
            position += len(chunk)
        first["digest"] = str(Digest.from_hash(whole))
        if entry.size % RECORD:
            self._members.write(bytes(-entry.size % RECORD))


def _chunks(entry: Entry) -> Iterator[bytes]:
    left = entry.size
    with entry.open_source() as file:
        while left:
            chunk = _exactly(file, min(CHUNK, left))
            if not chunk:
                raise changed(entry, entry.size - left)
            left -= len(chunk)
            yield chunk


def _exactly(file: BinaryIO, size: int) -> bytes:
    """``size`` bytes, or nothing where the file has fewer left."""
    pieces = []
    while size:
        piece = file.read(size)
        if not piece:
            return b""
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": f"{entry.path}/" if entry.kind == kinds.DIRECTORY else entry.path,
        "type": _TYPES[entry.kind],
    }
    optional = {
        "size": entry.size,
        "modtime": _time(entry.mtime // 1_000_000_000),
        "linkName": entry.linkname,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "devMajor": entry.major,
        "devMinor": entry.minor,
        "xattrs": {
            key: base64.b64encode(value).decode("ascii") for key, value in entry.xattrs.items()
        },
    }
    return row | {key: value for key, value in optional.items() if value}


def _time(seconds: int) -> str:
    """RFC 3339; empty for what that cannot say, and for the epoch, as the format has it."""
    if not 0 < seconds <= _LAST_SECOND:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
