import os

import pytest

from images.digest import Digest
from images.store import ImageStore
from tests.images.layers.archives import file
from tests.images.storekit import put_image, put_index, put_layer, ref


@pytest.fixture
def store(tmp_path):
    store = ImageStore.open(tmp_path)
    yield store
    store.close()


@pytest.fixture
def manifest(store):
    manifest = put_image(store, [put_layer(store, file("a"))])
    store.tag(ref("web:1"), manifest.descriptor)
    store.lowerdirs(store.image(manifest.descriptor))
    return manifest


def only(store, **options):
    (problem,) = store.check(**options)
    assert problem.what
    assert problem.fix
    return problem


def test_sound(store, manifest):
    assert store.check() == []
    assert store.check(rehash=True) == []


def test_an_empty_store_is_sound(store):
    assert store.check(rehash=True) == []


def test_a_dangling_name(store, manifest):
    store.blobs.delete(manifest.digest)
    problem = only(store)
    assert problem.where == "web:1"
    assert str(manifest.digest) in problem.what


def test_an_image_without_a_name_and_a_manifest(store, manifest):
    store.untag(ref("web:1"))
    store.blobs.delete(manifest.digest)
    assert only(store).what == "the manifest is missing"


@pytest.mark.parametrize("part", ["config", "layer"])
def test_missing_parts(store, manifest, part):
    digest = manifest.config.digest if part == "config" else manifest.layers[0].digest
    store.blobs.delete(digest)
    problems = store.check()
    assert problems[0].what == f"{part} {digest} is missing"
    assert problems[0].where == "web:1"


def test_a_layer_cut_short(store, manifest):
    os.truncate(store.blobs.path(manifest.layers[0].digest), 10)
    assert "10 bytes instead of" in only(store).what


def test_silent_damage_is_found_by_hashing(store, manifest):
    path = store.blobs.path(manifest.layers[0].digest)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert store.check() == []
    problem = only(store, rehash=True)
    assert problem.where == str(path)
    assert "damaged" in problem.what


def test_a_damaged_manifest(store, manifest):
    store.blobs.path(manifest.digest).write_bytes(b"x" * len(manifest.raw))
    assert "damaged" in only(store).what


def test_other_platforms_may_be_absent(store):
    here, there = put_image(store, []), put_image(store, [], label="there")
    index = put_index(store, {"linux/amd64": here, "linux/s390x": there})
    store.tag(ref("multi"), index.descriptor)
    store.blobs.delete(there.digest)
    assert store.check() == []
    store.blobs.delete(here.config.digest)
    assert only(store).where == "multi:latest"


def test_cache_rows_without_their_content(store, manifest):
    store.cache.put(b"\x01", "run", b"", digests=[manifest.layers[0].digest])
    assert store.check() == []
    store.cache.put(b"\x02", "run", b"", digests=[Digest.of(b"gone")])
    problem = only(store)
    assert problem.where == "cache 02"
    assert "cached run needs" in problem.what


def test_strange_files_among_the_blobs(store, manifest):
    (store.root / "blobs/sha256/core.123").write_text("")
    assert only(store).where.endswith("core.123")


def test_a_snapshot_without_a_sure_state(store, manifest):
    (snapshot_id,) = store.snapshots.ids()
    (store.root / "snapshots" / snapshot_id / "state").unlink()
    assert "not sure to be complete" in only(store).what
    store.lowerdirs(store.image(manifest.descriptor))
    assert store.check() == []


def test_a_snapshot_without_content(store, manifest):
    (snapshot_id,) = store.snapshots.ids()
    folder = store.root / "snapshots" / snapshot_id
    (folder / "fs").rename(store.root / "elsewhere")
    assert only(store).what == "the unpacked layer has no content"


def test_a_damaged_database(store, manifest):
    for n in range(500):
        store.cache.put(b"%d" % n, "run", b"x" * 200)
    store.close()
    with (store.root / "lading.db").open("r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(4096 * 8))
    assert any(problem.where.endswith("lading.db") for problem in store.check())
