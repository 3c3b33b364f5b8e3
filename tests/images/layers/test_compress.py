import gzip
import io
import os
import random
import subprocess
import threading
import zlib

import pytest
import zstandard

from images.errors import InputError, InvalidArchiveError, SizeLimitError
from images.layers.compress import BLOCK, Decompressed, compressor, deflate_block, sniff

KINDS = ["gzip", "zstd", "none"]


def text(size: int) -> bytes:
    """Bytes that compress about as well as programs do."""
    source = random.Random(size)
    words = [source.randbytes(source.randrange(2, 12)) for _ in range(500)]
    return b"".join(source.choices(words, k=size // 6))[:size]


def compress(kind: str, data: bytes, *, step: int = 1 << 30, threads: int = 0) -> bytes:
    out = bytearray()
    stream = compressor(kind, out.extend, threads=threads)
    for at in range(0, len(data), step):
        stream.write(data[at : at + step])
    stream.close()
    return bytes(out)


def decompress(kind: str, data: bytes, **options) -> bytes:
    stream = Decompressed(io.BytesIO(data), kind, **options)
    return b"".join(iter(lambda: bytes(stream.read(10_000)), b""))


SAMPLES = [
    b"",
    b"x",
    text(1000),
    text(BLOCK - 1),
    text(BLOCK),
    text(BLOCK + 1),
    text(4 * BLOCK + 9),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", SAMPLES, ids=len)
def test_round_trip(kind, data):
    assert decompress(kind, compress(kind, data)) == data


@pytest.mark.parametrize("data", SAMPLES, ids=len)
def test_gzip_is_one_ordinary_member(data):
    packed = compress("gzip", data)
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(packed) + inflate.flush() == data
    assert inflate.eof
    assert inflate.unused_data == b""
    assert gzip.decompress(packed) == data


def test_gzip_and_zstd_programs_read_it():
    data = text(3 * BLOCK + 5)
    command = ["gzip", "-dc"]
    packed = compress("gzip", data)
    assert subprocess.run(command, input=packed, capture_output=True, check=True).stdout == data


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_the_bytes_do_not_depend_on_cuts_threads_or_time(kind):
    data = text(5 * BLOCK + 1234)
    wanted = compress(kind, data)
    assert compress(kind, data, step=100_001) == wanted
    assert compress(kind, data, step=BLOCK) == wanted
    assert compress(kind, data, step=3 * BLOCK) == wanted
    for threads in (1, 2, 5):
        assert compress(kind, data, threads=threads) == wanted


def test_the_gzip_header_names_no_host_file_or_time():
    assert compress("gzip", b"x")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_blocks_see_the_window_before_them():
    data = os.urandom(20_000)
    alone, _ = deflate_block(data, b"")
    after_itself, _ = deflate_block(data, data)
    assert len(after_itself) < len(alone) // 50


def test_unknown_compression():
    with pytest.raises(InputError, match="unknown compression 'xz'") as caught:
        compressor("xz", print)
    assert "gzip" in (caught.value.fix or "")


def test_a_failing_sink_surfaces_and_abort_ends_the_threads():
    def full(data):
        if len(data) > 10:
            raise OSError("disk full")

    # Threads of earlier tests may end meanwhile, so it is not their number that counts.
    before = set(threading.enumerate())
    stream = compressor("gzip", full, threads=2)

    def fill():
        for _ in range(50):
            stream.write(bytes(BLOCK))

    with pytest.raises(OSError, match="disk full"):
        fill()
    stream.abort()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("kind", KINDS)
def test_sniff(kind):
    assert sniff(compress(kind, b"hello")[:4]) == kind


def test_several_gzip_members_and_zero_padding():
    packed = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two") + bytes(700)
    assert decompress("gzip", packed) == b"onetwo"


def test_several_zstd_frames():
    frame = zstandard.ZstdCompressor().compress
    assert decompress("zstd", frame(b"one") + frame(b"two")) == b"onetwo"


@pytest.mark.parametrize("size", [1, 10, 2 * BLOCK])
def test_members_that_end_at_the_edge_of_a_read(size):
    class Edges(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 13))

    data = gzip.compress(text(size)) * 3
    stream = Decompressed(Edges(data), "gzip")
    assert b"".join(iter(lambda: bytes(stream.read(BLOCK)), b"")) == text(size) * 3


@pytest.mark.parametrize("cut", [0, 5, 100, -1, -8])
def test_truncated_gzip(cut):
    packed = compress("gzip", text(5000))
    with pytest.raises(InvalidArchiveError, match="truncated"):
        decompress("gzip", packed[:cut] if cut else b"")


def test_garbage_behind_gzip():
    with pytest.raises(InvalidArchiveError, match="garbage"):
        decompress("gzip", gzip.compress(b"x") + b"garbage")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damaged(kind):
    packed = bytearray(compress(kind, text(50_000)))
    packed[len(packed) // 2] ^= 0x55
    with pytest.raises(InvalidArchiveError, match=f"{kind} stream is damaged"):
        decompress(kind, bytes(packed))


@pytest.mark.parametrize("kind", KINDS)
def test_limit(kind):
    packed = compress(kind, bytes(5000))
    assert len(decompress(kind, packed, limit=5000)) == 5000
    with pytest.raises(SizeLimitError, match="more than 4999 bytes"):
        decompress(kind, packed, limit=4999)


def test_a_zstd_bomb_is_stopped_early():
    """zstd says 128 KiB of zeros in four bytes, thirty times what gzip can."""
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    bomb = b"".join(packer.compress(bytes(BLOCK)) for _ in range(2000)) + packer.flush()
    assert len(bomb) < 200_000
    stream = Decompressed(io.BytesIO(bomb), "zstd")
    with pytest.raises(SizeLimitError, match="expand to more than") as caught:
        list(iter(lambda: len(stream.read(BLOCK)), 0))
    assert stream.bytes_out < 1100 * len(bomb) + (65 << 20)
    assert "bomb" in (caught.value.fix or "")


def test_the_best_honest_gzip_is_not_taken_for_a_bomb():
    packed = gzip.compress(bytes(200 << 20), 9)
    stream = Decompressed(io.BytesIO(packed), "gzip")
    while stream.read(BLOCK):
        pass
    assert stream.bytes_out == 200 << 20


def test_a_zstd_window_of_gigabytes_is_refused():
    window = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=window).compressobj()
    packed = packer.compress(b"x" * 100) + packer.flush()
    with pytest.raises(InvalidArchiveError):
        decompress("zstd", packed)
