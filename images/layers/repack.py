"""A layer packed after an edit: blocks that the edit left alone come from the layer before.

A layer's tar is compressed in blocks (see ``images.layers.compress``), and what is in a block
follows from the entries in it, where they begin, and the bytes of their files. Where a digest of
each file is known, a block can be named without reading anything. A block whose name and whose
predecessor's name are those of a block of the layer before has the same bytes in both, plain and
deflated, since nothing but the predecessor is referred to. So it is not deflated again, and its
plain bytes may come from either.

The result is that of ``pack_layer``, byte for byte: what a build has at hand changes the time it
takes and nothing else. Damage to the old blob, or a file that changed meanwhile, shows in the
CRC-32 of a block; then all is packed from the files.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
from bisect import bisect_left, bisect_right
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError, InvalidArchiveError
from images.layers import entry as kinds
from images.layers.compress import (
    BLOCK,
    GZIP_HEADER,
    GZIP_LEVEL,
    GzipBlocks,
    crc_of,
    inflate_block,
    window,
)
from images.layers.pack import LAYER_TYPES, InOrder, PackedLayer
from images.layers.tar_write import RECORD, Sources, changed, header, header_length, write_tar
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from images.blobs import BlobStore
    from images.layers.compress import Bytes
    from images.layers.entry import Entry

    _Place: TypeAlias = tuple[int, int, int, int]
    _Deflated: TypeAlias = tuple[bytes, int]

FORMAT: Final = 2
"""Raise it with anything that changes the bytes of a layer or the names of blocks."""

_AHEAD: Final = 4
"""Blocks that wait for their turn."""

_FIELDS: Final = 10
"""Of an entry: those that have the same bytes wherever they have the same value."""


class LayerBlocks(Record):
    """Where the blocks of a stored gzip layer are.

    By name the offset, the deflated length, and the CRC-32 of the plain and of the deflated bytes.
    """

    blob: Digest
    blocks: dict[bytes, _Place]

    def encode(self) -> bytes:
        """As the bytes of a record."""
        rows = [(name.hex(), *place) for name, place in self.blocks.items()]
        made_by = _made_by()
        document = {"format": FORMAT, "by": made_by, "blob": str(self.blob), "blocks": rows}
        return json.dumps(document).encode()

    @classmethod
    def decode(cls, raw: bytes) -> LayerBlocks | None:
        """From the bytes of a record; None for another format or another compressor."""
        document: dict[str, Any] = json.loads(raw)
        if (document.get("format"), document.get("by")) != (FORMAT, _made_by()):
            return None
        rows = document["blocks"]
        blocks = {bytes.fromhex(row[0]): (row[1], row[2], row[3], row[4]) for row in rows}
        return cls(Digest.parse(document["blob"]), blocks)


def repack_layer(
    entries: Sequence[Entry], blobs: BlobStore, before: LayerBlocks | None
) -> tuple[PackedLayer, LayerBlocks]:
    """As ``pack_layer`` with gzip, with what can be taken from the layer ``before``.

    Also tells where the blocks of the new layer are, for the next time.

    Raises:
        InputError: a file changed while it was read.
        EnvironmentFault: the disk is full or failing; nothing is kept.
    """
    layout = _Layout(entries)
    if before is not None and layout.seekable and not before.blocks.keys().isdisjoint(layout.names):
        try:
            with blobs.open(before.blob) as old:
                return _pack(layout, blobs, _Reused(old, before.blocks))
        except (_DamagedError, InvalidArchiveError):
            # The files still have everything.
            pass
        except ImagesError:
            if blobs.has(before.blob):
                raise
    return _pack(layout, blobs, None)


class _DamagedError(Exception):
    """A block of the old layer is not what its name says."""


class _Layout:
    """The tar of some entries before it is written: where each begins, and the blocks' names."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.seekable = True
        """Whether any part of any content can be had without what is before it."""
        position = 0
        self.begins = begins = [0]
        """Where each entry begins in the tar, and where the last one ends."""
        for entry in entries:
            position += header_length(entry)
            if entry.kind == kinds.FILE:
                position += entry.size + -entry.size % RECORD
            begins.append(position)
        self.length = position + 2 * RECORD
        self.names: list[bytes] = []
        """Of each block; empty where some content is not known."""
        previous = bytes(32)
        for start in range(0, self.length, BLOCK):
            own = self._own_name(start, min(BLOCK, self.length - start))
            known = previous and own
            self.names.append(hashlib.sha256(previous + own).digest() if known else b"")
            previous = own

    def first(self, start: int) -> int:
        """The number of the first entry in the block that begins at ``start``."""
        return bisect_right(self.begins, start) - 1

    def _own_name(self, start: int, length: int) -> bytes:
        first = self.first(start)
        last = bisect_left(self.begins, start + length)
        rows: list[tuple[Any, ...]] = []
        for entry in self.entries[first:last]:
            content = entry.content
            if content is None and entry.kind == kinds.FILE and entry.size:
                source = entry.source
                if not isinstance(source, bytes):
                    self.seekable = self.seekable and isinstance(source, str)
                    return b""
                content = hashlib.sha256(source).digest()
            attributes = tuple(entry.xattrs.items()) if entry.xattrs else ()
            rows.append((*entry[:_FIELDS], attributes, content))
        # The second format of marshal writes equal values as equal bytes.
        text = marshal.dumps((self.begins[first] - start, length, rows), 2)
        return hashlib.sha256(text).digest()


class _Reused:
    """The old layer, as far as its blocks can be had."""

    def __init__(self, blob: BinaryIO, blocks: dict[bytes, _Place]) -> None:
        self._fd = blob.fileno()
        self._blocks = blocks

    def get(self, name: bytes) -> _Deflated | None:
        """A block deflated, and the CRC-32 of its plain bytes; None where there is none such.

        Raises:
            _DamagedError: it is not what was stored.
        """
        place = self._blocks.get(name) if name else None
        if place is None:
            return None
        offset, length, crc, own_crc = place
        deflated = os.pread(self._fd, length, offset)
        if crc_of(deflated) != own_crc:
            raise _DamagedError
        return deflated, crc


def _pack(
    layout: _Layout, blobs: BlobStore, reused: _Reused | None
) -> tuple[PackedLayer, LayerBlocks]:
    hasher = hashlib.sha256()
    with blobs.writer() as writer, InOrder(hasher.update) as hashing:
        stream = GzipBlocks(writer.write)
        try:
            if reused is None:

                def take(block: Bytes) -> None:
                    hashing.put(block)
                    stream.block(block)

                write_tar(layout.entries, take)
            else:
                _mix(layout, reused, stream, hashing.put)
            stream.finish()
        except BaseException:
            stream.abort()
            raise
        hashing.finish()
        size = writer.written
        digest = writer.commit()
    packed = PackedLayer(
        Digest.from_hash(hasher), Descriptor(LAYER_TYPES["gzip"], digest, size), layout.length
    )
    return packed, LayerBlocks(digest, _places(layout.names, stream.made))


def _mix(
    layout: _Layout, reused: _Reused, stream: GzipBlocks, put: Callable[[Bytes], object]
) -> None:
    """Feed the stream, block by block, deflating only what the old layer does not have.

    The plain bytes are needed for the diff id. They come in turn from the files, by this thread,
    and from the old layer, by another: inflating leaves the interpreter alone, but needs the block
    before, and alone it is no faster than reading small files.
    """
    from concurrent.futures import ThreadPoolExecutor

    waiting: deque[Callable[[], tuple[Bytes, _Deflated | None]]] = deque()

    def feed() -> None:
        plain, old = waiting.popleft()()
        put(plain)
        if old is None:
            stream.block(plain)
        else:
            stream.repeat(plain, *old)

    built: Bytes | None = None
    with ThreadPoolExecutor(1, "inflate") as pool, Sources() as sources:
        for index, name in enumerate(layout.names):
            old = reused.get(name)
            if old is not None and built is not None:
                waiting.append(pool.submit(_inflated, old, window(built)).result)
                built = None
            else:
                built = _block(layout, index, sources)
                waiting.append(partial(_checked, built, old))
            if len(waiting) > _AHEAD:
                feed()
        while waiting:
            feed()


def _inflated(old: _Deflated, dictionary: bytes) -> tuple[Bytes, _Deflated]:
    plain, crc = inflate_block(old[0], dictionary)
    if crc != old[1]:
        raise _DamagedError
    return plain, old


def _checked(plain: Bytes, old: _Deflated | None) -> tuple[Bytes, _Deflated | None]:
    """A block that was read from its files, which should be what they were."""
    if old is not None and crc_of(plain) != old[1]:
        raise _DamagedError
    return plain, old


def _block(layout: _Layout, index: int, sources: Sources) -> bytearray:
    """One block of the tar, from the entries in it."""
    start = index * BLOCK
    block = bytearray(min(BLOCK, layout.length - start))
    view = memoryview(block)
    for number in range(layout.first(start), len(layout.entries)):
        entry, begin = layout.entries[number], layout.begins[number] - start
        if begin >= len(block):
            break
        head = header(entry)
        _put(view, head, begin)
        if entry.kind == kinds.FILE and entry.size:
            _put_body(view, entry, begin + len(head), sources)
    return block


def _put(view: memoryview, data: bytes, at: int) -> None:
    """Lay ``data`` into the block at ``at``, as much of it as is inside."""
    piece = data[max(0, -at) : max(0, len(view) - at)]
    at = max(0, at)
    view[at : at + len(piece)] = piece


def _put_body(view: memoryview, entry: Entry, at: int, sources: Sources) -> None:
    """As ``_put``, with the content of a file.

    Raises:
        InputError: it is shorter than its entry says.
    """
    source, size = entry.source, entry.size
    if isinstance(source, bytes):
        if len(source) != size:
            raise changed(entry, len(source))
        _put(view, source, at)
        return
    begin, end = max(0, -at), min(size, len(view) - at)
    if begin >= end:
        return
    assert isinstance(source, str)
    fd = sources.open(source)
    try:
        while begin < end:
            got = os.preadv(fd, (view[at + begin : at + end],), begin)
            if not got:
                raise changed(entry, begin)
            begin += got
    finally:
        os.close(fd)


def _places(names: Sequence[bytes], made: Sequence[tuple[int, int, int]]) -> dict[bytes, _Place]:
    found: dict[bytes, _Place] = {}
    offset = len(GZIP_HEADER)
    for name, (length, crc, own_crc) in zip(names, made, strict=True):
        if name:
            found[name] = (offset, length, crc, own_crc)
        offset += length
    return found


def _made_by() -> str:
    """What has to be the same for the same bytes: the compressor and how it is asked."""
    import isal

    return f"isal {isal.__version__} level {GZIP_LEVEL} block {BLOCK}"
