"""Layers in another compression: the same tar, whichever way round."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from images.blobs import BlobStore
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, InputError
from images.layers.convert import convert_layer, is_packed, pack_entries
from images.layers.entry import Entry
from images.layers.pack import pack_layer
from images.mediatype import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

ENTRIES = [
    Entry("etc", "d", 0o755),
    Entry("etc/passwd", "f", size=3, source=b"abc", mtime=10**9),
    Entry("etc/words", "f", size=3_000_000, source=b"some words " * 272727 + b"end"),
]
PLAIN = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "uncompressed": bytes,
}


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def read(blobs: BlobStore, layer: Descriptor) -> bytes:
    return blobs.read(layer.digest, limit=1 << 24)


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("gzip", OCI_LAYER_GZIP), ("zstd", OCI_LAYER_ZSTD), ("uncompressed", OCI_LAYER)],
)
@pytest.mark.parametrize("start", ["gzip", "zstd", "none"])
def test_every_form_has_the_same_tar(
    blobs: BlobStore, start: str, compression: str, media_type: str
) -> None:
    first = pack_layer(ENTRIES, blobs, compression=start)
    made = convert_layer(first.descriptor, first.diff_id, blobs, compression=compression)
    assert (made.diff_id, made.uncompressed_size) == (first.diff_id, first.uncompressed_size)
    assert made.descriptor.media_type == media_type
    plain = PLAIN[compression](read(blobs, made.descriptor))
    assert Digest.of(plain) == first.diff_id
    again = convert_layer(first.descriptor, first.diff_id, blobs, compression=compression)
    assert again == made == pack_entries(ENTRIES, blobs, compression=compression)


@pytest.mark.parametrize(("compression", "low", "high"), [("gzip", 1, 9), ("zstd", 1, 19)])
def test_levels_count(blobs: BlobStore, compression: str, low: int, high: int) -> None:
    first = pack_layer(ENTRIES, blobs)
    made = [
        convert_layer(first.descriptor, first.diff_id, blobs, compression=compression, level=level)
        for level in (low, high)
    ]
    assert made[1].descriptor.size < made[0].descriptor.size
    for layer in made:
        assert Digest.of(PLAIN[compression](read(blobs, layer.descriptor))) == first.diff_id


def test_gzip_without_compression_is_level_zero(blobs: BlobStore) -> None:
    layer = pack_entries(ENTRIES, blobs, compression="gzip", level=0)
    assert layer.descriptor.size > layer.uncompressed_size


def test_estargz_is_a_layer_of_the_same_files(blobs: BlobStore) -> None:
    first = pack_layer(ENTRIES, blobs, compression="zstd")
    made = convert_layer(first.descriptor, first.diff_id, blobs, compression="estargz")
    plain = gzip.decompress(read(blobs, made.descriptor))
    assert Digest.of(plain) == made.diff_id != first.diff_id
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.extractfile("etc/passwd").read() == b"abc"
        assert archive.getmember("etc/words").size == 3_000_000
    back = convert_layer(made.descriptor, made.diff_id, blobs, compression="estargz")
    assert back == made


def test_what_a_layer_is_packed_as(blobs: BlobStore) -> None:
    gz = pack_layer(ENTRIES, blobs)
    star = pack_entries(ENTRIES, blobs, compression="estargz")
    assert is_packed(gz.descriptor, "gzip")
    assert not is_packed(gz.descriptor, "estargz")
    assert not is_packed(gz.descriptor, "uncompressed")
    assert is_packed(star.descriptor, "estargz")
    assert not is_packed(star.descriptor, "gzip")


def test_a_layer_that_is_not_its_diff_id_is_refused(blobs: BlobStore) -> None:
    layer = pack_layer(ENTRIES, blobs)
    before = set(blobs.digests())
    with pytest.raises(DigestMismatchError, match="the layer unpacks to"):
        convert_layer(layer.descriptor, Digest.of(b""), blobs, compression="zstd")
    assert set(blobs.digests()) == before


def test_what_is_no_layer_is_refused(blobs: BlobStore) -> None:
    digest = blobs.put(b"{}")
    with pytest.raises(InputError, match="is no layer"):
        convert_layer(Descriptor(OCI_CONFIG, digest, 2), digest, blobs, compression="gzip")
