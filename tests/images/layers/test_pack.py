import gzip
import hashlib
import io
import os

import pytest

from images.blobs import BlobStore
from images.digest import Digest
from images.errors import InputError
from images.layers.entry import Entry
from images.layers.pack import diff_id, pack_layer
from images.mediatype import DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tests.images.layers.archives import archive, directory, file

ENTRIES = [directory("d"), file("d/a", os.urandom(3 << 20)), file("d/b", b"x" * 100)]


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path)


def test_digests_and_sizes(blobs):
    layer = pack_layer(ENTRIES, blobs)
    tar = archive(*ENTRIES).getvalue()
    stored = blobs.read(layer.descriptor.digest)
    assert gzip.decompress(stored) == tar
    assert layer.diff_id == Digest.of(tar)
    assert layer.uncompressed_size == len(tar)
    assert layer.descriptor.size == len(stored)
    assert layer.descriptor.digest == Digest("sha256", hashlib.sha256(stored).hexdigest())


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("gzip", OCI_LAYER_GZIP), ("zstd", OCI_LAYER_ZSTD), ("none", OCI_LAYER)],
)
def test_media_types(blobs, compression, media_type):
    layer = pack_layer(ENTRIES, blobs, compression=compression)
    assert layer.descriptor.media_type == media_type
    assert layer.diff_id == pack_layer(ENTRIES, blobs).diff_id


def test_a_media_type_of_ones_own(blobs):
    layer = pack_layer(ENTRIES, blobs, media_type=DOCKER_LAYER_GZIP)
    assert layer.descriptor.media_type == DOCKER_LAYER_GZIP


def test_diff_id_alone(blobs):
    layer = pack_layer(ENTRIES, blobs)
    assert diff_id(ENTRIES) == (layer.diff_id, layer.uncompressed_size)


def test_the_same_layer_packed_twice_is_one_blob(blobs):
    assert pack_layer(ENTRIES, blobs, threads=1) == pack_layer(ENTRIES, blobs, threads=3)
    assert len(list(blobs.digests())) == 1


def test_golden_digest(blobs):
    """Every release must give these bytes: base images and caches of users depend on it."""
    entries = [
        directory("bin", mtime=1_700_000_000 * 10**9),
        file("bin/größe", b"hello\n", mode=0o755, uid=1000, mtime=1_700_000_000 * 10**9),
        Entry("bin/null", "c", 0o666, major=1, minor=3),
    ]
    layer = pack_layer(entries, blobs)
    assert layer.diff_id.hex == GOLDEN_DIFF_ID
    assert layer.descriptor.digest.hex == GOLDEN_DIGEST


def test_an_error_in_the_middle_leaves_nothing(blobs):
    def entries():
        yield file("a", os.urandom(5 << 20))
        yield Entry("b", "f", size=5, source=lambda: io.BytesIO(b"123"))

    with pytest.raises(InputError, match="changed"):
        pack_layer(entries(), blobs)
    assert list(blobs.digests()) == []
    assert list(blobs.stages()) == []


GOLDEN_DIFF_ID = "41f4f3c23af8b0e89ed52219c2ac6d5c25ef61ccd906911cc6b7a96187c01fcf"
GOLDEN_DIGEST = "7bc6dedca6a56cf9636dcfcc32343bacba9d59b39a20f64025b95c774cd904aa"
