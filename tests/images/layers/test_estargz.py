"""eStargz layers, read by a reader of its own that begins at the footer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from images.blobs import BlobStore
from images.errors import InputError
from images.layers.entry import Entry, whiteout
from images.layers.estargz import (
    CHUNK,
    SIZE_ANNOTATION,
    TOC_DIGEST_ANNOTATION,
    TOC_NAME,
    footer,
    pack_estargz,
)
from images.mediatype import OCI_LAYER_GZIP
from tests.images.layers.estargz_reader import read_toc, toc_offset, verify
from tests.property.layers_strategies import trees

SECOND = 10**9
ENTRIES = [
    Entry("", "d", 0o755),
    Entry("etc", "d", 0o755, mtime=1_700_000_000 * SECOND),
    Entry("etc/passwd", "f", 0o600, 5, 6, 3, 1_700_000_000 * SECOND, source=b"abc"),
    Entry("empty", "f"),
    Entry("big", "f", 0o4755, size=2 * CHUNK + 7, source=bytes(range(256)) * 32768 + b"the end"),
    Entry("even", "f", size=CHUNK, source=bytes(CHUNK)),
    Entry("hard", "h", linkname="big"),
    Entry("soft", "l", 0o777, linkname="/etc/passwd"),
    Entry("é" * 80, "f", size=1, source=b"x", xattrs={"user.a": b"\0\xff"}),
    Entry("null", "c", 0o666, major=1, minor=3),
    Entry("loop", "b", 0o660, major=7, minor=1),
    Entry("pipe", "p", 0o600),
    whiteout("gone"),
    Entry("late", "f", size=1, source=b"y", mtime=2**40 * SECOND),
]


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def pack(blobs: BlobStore, entries: list[Entry], level: int | None = None):
    layer = pack_estargz(entries, blobs, level=level)
    return layer, blobs.read(layer.descriptor.digest, limit=1 << 26)


@pytest.mark.parametrize("level", [None, 0, 1, 9])
def test_an_independent_reader_finds_every_file(blobs: BlobStore, level: int | None) -> None:
    entries = ENTRIES[1:]
    layer, blob = pack(blobs, entries, level)
    files = verify(blob)
    for entry in entries:
        if entry.kind == "f" and entry.size:
            assert files[entry.path] == entry.source
    toc, digest = read_toc(blob)
    assert layer.descriptor.media_type == OCI_LAYER_GZIP
    assert layer.descriptor.annotations == {
        TOC_DIGEST_ANNOTATION: digest,
        SIZE_ANNOTATION: str(layer.uncompressed_size),
    }
    chunks = [row for row in toc["entries"] if row["name"] == "big"]
    assert [row.get("chunkSize") for row in chunks] == [CHUNK, CHUNK, None]
    times = {row["name"]: row.get("modtime") for row in toc["entries"]}
    assert times["etc/passwd"] == "2023-11-14T22:13:20Z"
    assert times["late"] is None, "RFC 3339 ends with the year 9999"


def test_the_same_bytes_every_time(blobs: BlobStore) -> None:
    assert pack(blobs, ENTRIES) == pack(blobs, ENTRIES)
    assert len(pack(blobs, ENTRIES, 9)[1]) < len(pack(blobs, ENTRIES, 0)[1])


def test_what_an_earlier_conversion_added_is_not_added_twice(blobs: BlobStore) -> None:
    added = [
        Entry(".no.prefetch.landmark", "f", size=1, source=b"\x0f"),
        *ENTRIES,
        Entry(TOC_NAME, "f", size=2, source=b"{}"),
    ]
    assert pack(blobs, added) == pack(blobs, ENTRIES)


def test_an_empty_layer(blobs: BlobStore) -> None:
    _, blob = pack(blobs, [])
    assert list(verify(blob)) == [".no.prefetch.landmark"]


def test_the_footer() -> None:
    made = footer(0x1234ABCD)
    assert len(made) == 51
    assert toc_offset(made) == 0x1234ABCD


def test_a_file_that_shrank(blobs: BlobStore) -> None:
    short = Entry("a", "f", size=10, source=lambda: io.BytesIO(b"short"))
    with pytest.raises(InputError, match="it changed while it was read"):
        pack_estargz([short], blobs)
    assert list(blobs.digests()) == []


@given(trees(size=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layer(tmp_path: Path, entries: list[Entry]) -> None:
    named = [e for e in entries if e.path.isprintable() and e.path.isascii()]
    kept = {e.path for e in named}
    whole = [e for e in named if e.kind != "h" or e.linkname in kept]
    _, blob = pack(BlobStore(tmp_path), whole)
    files = verify(blob)
    assert {e.path: e.source for e in whole if e.kind == "f" and e.size}.items() <= files.items()
