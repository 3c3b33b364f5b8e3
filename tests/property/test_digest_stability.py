"""A layer's digest depends on its content: not on directory order, umask, time zone, host or
threads.
"""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.blobs import BlobStore
from images.digest import Digest
from images.layers.overlay_diff import scan_upper
from images.layers.pack import diff_id, pack_layer
from images.manifest import Manifest
from tests.property.layers_strategies import make, owned, trees

FIXTURE = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(trees(), st.randoms(use_true_random=False))
@FIXTURE
def test_the_order_of_creation_does_not_matter(tmp_path: Path, entries, source: random.Random):
    entries = [entry for entry in owned(entries) if entry.kind != "h"]
    one = make(tmp_path / "one", entries)
    shuffled = list(entries)
    source.shuffle(shuffled)
    two = make(tmp_path / "two", sorted(shuffled, key=lambda e: e.path.count("/")))
    assert diff_id(scan_upper(one)) == diff_id(scan_upper(two))


@given(trees())
@FIXTURE
def test_what_the_directory_says_first_does_not_matter(tmp_path: Path, entries):
    root = make(tmp_path / "root", owned(entries))
    wanted = diff_id(scan_upper(root))
    real = os.scandir

    class Backwards:
        def __init__(self, path):
            with real(path) as items:
                self.items = list(items)[::-1]

        def __enter__(self):
            return iter(self.items)

        def __exit__(self, *_):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", Backwards)
        found = diff_id(scan_upper(root))
    assert found == wanted


@given(
    trees(size=6),
    st.sampled_from([0o000, 0o022, 0o077]),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/Lima"]),
)
@FIXTURE
def test_umask_and_time_zone_do_not_matter(tmp_path: Path, entries, umask, zone):
    wanted = diff_id(scan_upper(make(tmp_path / "one", owned(entries))))
    before, before_zone = os.umask(umask), os.environ.get("TZ")
    try:
        os.environ["TZ"] = zone
        time.tzset()
        other = make(tmp_path / "two", owned(entries))
        found = diff_id(scan_upper(other))
    finally:
        os.umask(before)
        os.environ.pop("TZ")
        if before_zone is not None:
            os.environ["TZ"] = before_zone
        time.tzset()
    assert found == wanted


@given(trees(), st.sampled_from(["gzip", "zstd", "none"]))
@FIXTURE
def test_packed_twice_is_the_same_blob(tmp_path: Path, entries, compression):
    root = make(tmp_path / "root", owned(entries))
    one = pack_layer(scan_upper(root), BlobStore(tmp_path / "s1"), compression=compression)
    two = pack_layer(
        scan_upper(root), BlobStore(tmp_path / "s2"), compression=compression, threads=4
    )
    assert one == two


@given(trees(size=8), trees(size=8))
@FIXTURE
def test_different_trees_have_different_digests(tmp_path: Path, one, two):
    from tests.property.layers_strategies import picture

    one, two = owned(one), owned(two)
    first = diff_id(scan_upper(make(tmp_path / "one", one)))
    second = diff_id(scan_upper(make(tmp_path / "two", two)))
    assert first != second or picture(one) == picture(two)


@given(
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_annotations_does_not_matter(annotations, source: random.Random):
    from images.descriptor import Descriptor
    from images.mediatype import OCI_CONFIG

    config = Descriptor(OCI_CONFIG, Digest.of(b"c"), 1)
    items = list(annotations.items())
    source.shuffle(items)
    one = Manifest.build(config, [], annotations=annotations)
    two = Manifest.build(config, [], annotations=dict(items))
    assert one.digest == two.digest
    assert one.annotations == annotations
