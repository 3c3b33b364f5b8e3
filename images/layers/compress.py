"""Compression of layers: gzip by ISA-L, zstd, or none; streamed both ways, bounded on the way in.

Out: the bytes depend on the content alone, never on how it was cut up by the caller, on the number
of threads or on the clock, because a push must send the same bytes every time (design D7). The
stream is cut into blocks of ``BLOCK`` bytes. For gzip each block is deflated on its own with the 32
KiB before it as dictionary and ends in a sync flush (the way of pigz), so blocks compress in
parallel and the result is one ordinary gzip member. ``BLOCK``, ``GZIP_LEVEL`` and ``ZSTD_LEVEL``
are part of the format: changing one changes the digest of every layer.

In: gzip with any number of members, and zstd with any number of frames. No stream may expand more
than deflate possibly can, and a truncated stream is an error.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from images.errors import InputError, InvalidArchiveError, SizeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

BLOCK: Final = 1 << 20
GZIP_LEVEL: Final = 2
ZSTD_LEVEL: Final = 3
GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952 with no name, no time, unknown operating system."""

RATIO_LIMIT: Final = 1100
"""Deflate cannot expand more than 1032 times; what does is a bomb."""

RATIO_SLACK: Final = 64 << 20
ZSTD_WINDOW_LIMIT: Final = 1 << 27
"""Bytes of memory one zstd stream may ask for: what `zstd` itself accepts without --long."""

_WINDOW: Final = 32 << 10
_DEFLATE_END: Final = b"\x03\x00"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_READ_SIZE: Final = 256 << 10

Bytes = bytes | bytearray | memoryview


class Compressor(Protocol):
    """Takes a stream in pieces and hands its compressed form to a sink."""

    def write(self, data: Bytes) -> None:
        """Take some bytes; they must not change afterwards."""

    def close(self) -> None:
        """Finish the stream; the sink has everything when this returns."""

    def abort(self) -> None:
        """Give up; stop threads and hand nothing more to the sink."""


def compressor(
    kind: str, sink: Callable[[Bytes], object], *, threads: int = 0, level: int | None = None
) -> Compressor:
    """A compressor of ``kind`` (``gzip``, ``zstd`` or ``none``) that writes to ``sink``.

    ``threads`` compress beside the caller's; 0 means one per processor, at most 4. ``level`` is
    zlib's (0 to 9) or zstd's (0 to 22); None is ours, which for gzip is much faster.

    Raises:
        InputError: an unknown kind.
    """
    if kind == "gzip":
        return _Blocks(GzipBlocks(sink, threads, level=level))
    if kind == "zstd":
        return _Blocks(_Zstd(sink, threads or _threads(), ZSTD_LEVEL if level is None else level))
    if kind == "none":
        return _Plain(sink)
    raise InputError(f"unknown compression {kind!r}", fix="use gzip, zstd or none")


class _Plain:
    def __init__(self, sink: Callable[[Bytes], object]) -> None:
        self._sink = sink

    def write(self, data: Bytes) -> None:
        self._sink(data)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _Encoder(Protocol):
    def block(self, data: Bytes) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


class _Blocks:
    """Cuts what it is given into blocks of exactly ``BLOCK`` bytes, without a copy where it can."""

    def __init__(self, encoder: _Encoder) -> None:
        self._encoder = encoder
        self._buffer = bytearray()

    def write(self, data: Bytes) -> None:
        if not self._buffer and len(data) == BLOCK:
            self._encoder.block(data)
            return
        view = memoryview(data)
        while view:
            taken = view[: BLOCK - len(self._buffer)]
            self._buffer += taken
            view = view[len(taken) :]
            if len(self._buffer) == BLOCK:
                block, self._buffer = self._buffer, bytearray()
                self._encoder.block(block)

    def close(self) -> None:
        if self._buffer:
            self._encoder.block(self._buffer)
        self._encoder.finish()

    def abort(self) -> None:
        self._encoder.abort()


class GzipBlocks:
    """The blocks of one gzip member, in their order; each but the last is ``BLOCK`` bytes."""

    def __init__(
        self, sink: Callable[[Bytes], object], threads: int = 0, *, level: int | None = None
    ) -> None:
        """``sink`` gets the member; ``threads`` and ``level`` as for ``compressor``."""
        from isal import isal_zlib

        self._deflate = deflate_block if level is None else partial(_deflate_at, level)
        self._combine = isal_zlib.crc32_combine
        self._sink = sink
        self._threads = threads or _threads()
        self._pool: ThreadPoolExecutor | None = None
        self._queue: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._first: Bytes | None = None
        self._dictionary = b""
        self.made: list[tuple[int, int, int]] = []
        """Of each finished block the deflated length, the CRC-32 of its input and of its output."""
        self._crc = 0
        self._size = 0
        sink(GZIP_HEADER)

    def block(self, data: Bytes) -> None:
        """Deflate the next block, which must not change afterwards."""
        if self._first is None and self._pool is None:
            self._first = data
            return
        self._start_pool()
        assert self._pool is not None
        self._add(data, self._pool.submit(self._deflate, data, self._dictionary))

    def repeat(self, data: Bytes, deflated: bytes, crc: int) -> None:
        """Take the next block as it was deflated before, after the same block."""
        from concurrent.futures import Future

        self._start_pool()
        done: Future[tuple[bytes, int]] = Future()
        done.set_result((deflated, crc))
        self._add(data, done)

    def finish(self) -> None:
        """End the member; the sink has everything when this returns."""
        if self._first is not None:
            # Most layers fit in one block, and a thread costs more than it brings for those.
            self._take(len(self._first), self._deflate(self._first, b""))
        while self._queue:
            self._drain_one()
        self._stop_pool()
        self._sink(_DEFLATE_END + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def abort(self) -> None:
        """Give up; stop threads and hand nothing more to the sink."""
        self._queue.clear()
        self._stop_pool()

    def _start_pool(self) -> None:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads, "gzip")
            first, self._first = self._first, None
            if first is not None:
                self._add(first, self._pool.submit(self._deflate, first, b""))

    def _stop_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _add(self, data: Bytes, future: Future[tuple[bytes, int]]) -> None:
        self._queue.append((len(data), future))
        self._dictionary = window(data)
        while len(self._queue) > 2 * self._threads:
            self._drain_one()

    def _drain_one(self) -> None:
        length, future = self._queue.popleft()
        self._take(length, future.result())

    def _take(self, length: int, result: tuple[bytes, int]) -> None:
        compressed, crc = result
        self.made.append((len(compressed), crc, crc_of(compressed)))
        self._crc = self._combine(self._crc, crc, length) if self._size else crc
        self._size += length
        self._sink(compressed)


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


def crc_of(data: Bytes, before: int = 0) -> int:
    """The CRC-32 of RFC 1952, of ``data`` behind what has the CRC-32 ``before``."""
    from isal import isal_zlib

    crc: int = isal_zlib.crc32(data, before)
    return crc


def window(block: Bytes) -> bytes:
    """What of a block the next one may refer to."""
    return bytes(memoryview(block)[-_WINDOW:])


def inflate_block(deflated: bytes, dictionary: bytes) -> tuple[bytes, int]:
    """The inverse of ``deflate_block``; returns the plain bytes and their CRC-32.

    Raises:
        InvalidArchiveError: the bytes are not what was deflated.
    """
    from isal import isal_zlib

    if dictionary:
        inflate = isal_zlib.decompressobj(-15, zdict=dictionary)
    else:
        inflate = isal_zlib.decompressobj(-15)
    try:
        plain = inflate.decompress(deflated, BLOCK + 1)
    except isal_zlib.IsalError as error:  # type: ignore[misc]
        raise InvalidArchiveError(f"gzip block is damaged: {error}") from error
    return plain, isal_zlib.crc32(plain)


def deflate_block(data: Bytes, dictionary: bytes) -> tuple[bytes, int]:
    """Deflate one block, ended by a sync flush; returns the bytes and the CRC-32 of the input."""
    from isal import isal_zlib

    if dictionary:
        deflate = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, -15, zdict=dictionary)
    else:
        deflate = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, -15)
    body = deflate.compress(data)
    return body + deflate.flush(isal_zlib.Z_SYNC_FLUSH), isal_zlib.crc32(data)


def _deflate_at(level: int, data: Bytes, dictionary: bytes) -> tuple[bytes, int]:
    """As ``deflate_block``, by zlib at one of its levels."""
    import zlib

    if dictionary:
        deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=dictionary)
    else:
        deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data)
    return body + deflate.flush(zlib.Z_SYNC_FLUSH), crc_of(data)


class _Zstd:
    def __init__(self, sink: Callable[[Bytes], object], threads: int, level: int) -> None:
        import zstandard

        # The multi-threaded encoder's output does not depend on the number of its threads.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, threads=threads, write_checksum=True
        )
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._sink = sink

    def block(self, data: Bytes) -> None:
        self._sink(self._stream.compress(data))

    def finish(self) -> None:
        self._sink(self._stream.flush())

    def abort(self) -> None:
        pass


def sniff(start: bytes) -> str:
    """``gzip``, ``zstd`` or ``none``, by the first four bytes of a stream."""
    if start.startswith(_GZIP_MAGIC):
        return "gzip"
    return "zstd" if start.startswith(_ZSTD_MAGIC) else "none"


class Decompressed:
    """The plain bytes of a compressed stream, as ``read(n)`` pieces of at most ``n`` bytes.

    ``kind`` is ``gzip``, ``zstd`` or ``none``; ``limit`` bounds the plain bytes. The stream
    underneath stays the caller's to close.
    """

    def __init__(self, stream: BinaryIO, kind: str, *, limit: int | None = None) -> None:
        self._stream = stream
        self._limit = limit
        self._pending = memoryview(b"")
        self.bytes_in = 0
        self.bytes_out = 0
        self._pieces = _DECODERS[kind](self._read_input)

    def read(self, size: int = BLOCK) -> memoryview:
        """At most ``size`` bytes; empty only at the end.

        Raises:
            InvalidArchiveError: the stream is damaged or truncated.
            SizeLimitError: longer than ``limit``, or expanding more than deflate can.
        """
        if not self._pending:
            self._pending = memoryview(next(self._pieces, b""))
            self.bytes_out += len(self._pending)
            self._check()
        piece, self._pending = self._pending[:size], self._pending[size:]
        return piece

    def _check(self) -> None:
        if self._limit is not None and self.bytes_out > self._limit:
            raise SizeLimitError(f"content expands to more than {self._limit} bytes")
        if self.bytes_out > RATIO_SLACK + RATIO_LIMIT * self.bytes_in:
            raise SizeLimitError(
                f"{self.bytes_in} compressed bytes expand to more than {self.bytes_out}",
                fix="this looks like a decompression bomb; do not use this image",
            )

    def _read_input(self, size: int = _READ_SIZE) -> bytes:
        data = self._stream.read(size)
        self.bytes_in += len(data)
        return data


def _plain(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while data := read(BLOCK):
        yield data


def _gunzip(read: Callable[[int], bytes]) -> Iterator[bytes]:
    data = read(_READ_SIZE)
    while True:
        data = yield from _gunzip_member(read, data)
        if len(data) < len(_GZIP_MAGIC):
            data += read(_READ_SIZE)
        if not data.startswith(_GZIP_MAGIC):
            break
    while data:  # gzip(1) ignores zeros after the last member: tape blocks
        if data.strip(b"\0"):
            raise InvalidArchiveError("garbage after the end of the gzip stream")
        data = read(_READ_SIZE)


def _gunzip_member(read: Callable[[int], bytes], data: bytes) -> Generator[bytes, None, bytes]:
    """Yield one member's plain bytes; returns the input that follows it."""
    from isal import isal_zlib

    inflate = isal_zlib.decompressobj(31)
    full = False
    while not inflate.eof:
        if not data and not full:
            data = read(_READ_SIZE)
            if not data:
                raise InvalidArchiveError("gzip stream is truncated")
        try:
            plain = inflate.decompress(data, BLOCK)
        except isal_zlib.IsalError as error:  # type: ignore[misc]
            raise InvalidArchiveError(f"gzip stream is damaged: {error}") from error
        full = len(plain) == BLOCK
        data = inflate.unconsumed_tail
        if plain:
            yield plain
    rest: bytes = inflate.unused_data
    return rest


def _unzstd(read: Callable[[int], bytes]) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT)
    # A reader, because one decompressobj call may expand a small input to gigabytes.
    source = cast("BinaryIO", _Readable(read))
    reader = decoder.stream_reader(source, read_size=_READ_SIZE, read_across_frames=True)
    try:
        while plain := reader.read(BLOCK):
            yield plain
    except zstandard.ZstdError as error:
        raise InvalidArchiveError(f"zstd stream is damaged: {error}") from error


class _Readable:
    """A function in the shape of a file, as the zstd reader wants it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


_DECODERS: Final = {"gzip": _gunzip, "zstd": _unzstd, "none": _plain}
