import contextlib
import multiprocessing
import os
import threading
import time

import pytest

from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index
from images.store import ImageStore
from tests.images.layers.archives import file
from tests.images.storekit import age, put_image, put_index, put_layer, ref


@pytest.fixture
def store(tmp_path):
    store = ImageStore.open(tmp_path)
    yield store
    store.close()


def unpack(store, manifest):
    return store.lowerdirs(store.image(manifest.descriptor))


def test_an_unused_image_goes_with_all_it_had(store):
    manifest = put_image(store, [put_layer(store, file("a", b"x" * 1000))])
    unpack(store, manifest)
    store.tag(ref("web"), manifest.descriptor)
    age(store)
    report = store.gc()
    assert (report.blobs_removed, report.snapshots_removed) == (0, 0)
    assert (report.blobs_kept, report.snapshots_kept) == (3, 1)
    store.remove("web")
    report = store.gc()
    assert (report.blobs_removed, report.snapshots_removed) == (3, 1)
    assert report.bytes_freed > 1000
    assert list(store.blobs.digests()) == []
    assert list(store.snapshots.ids()) == []
    assert store.db.execute("SELECT * FROM layers") == []
    assert store.check(rehash=True) == []


def test_shared_layers_stay(store):
    base = put_layer(store, file("base"))
    one = put_image(store, [base, put_layer(store, file("1"))])
    two = put_image(store, [base, put_layer(store, file("2"))])
    for name, manifest in (("one", one), ("two", two)):
        unpack(store, manifest)
        store.tag(ref(name), manifest.descriptor)
    store.remove("one")
    age(store)
    report = store.gc()
    assert (report.blobs_removed, report.snapshots_removed) == (3, 1)
    assert store.check(rehash=True) == []
    assert len(unpack(store, two)) == 2


def test_what_a_name_leads_to_through_indexes(store):
    manifest = put_image(store, [put_layer(store, file("a"))])
    inner = put_index(store, {"linux/amd64": manifest})
    outer = Index.build([inner.descriptor])
    store.blobs.put(outer.raw)
    store.tag(ref("multi"), outer.descriptor)
    age(store)
    assert store.gc().blobs_removed == 0
    assert store.gc().blobs_kept == 5


def test_diamonds_forty_levels_deep_are_linear_work(store):
    """Each level names the one below twice: two to the fortieth paths, forty documents."""
    leaf = put_image(store, [])
    descriptor = leaf.descriptor
    for level in range(40):
        index = Index.build([descriptor, descriptor], annotations={"level": str(level)})
        store.blobs.put(index.raw)
        descriptor = index.descriptor
    store.tag(ref("diamond"), descriptor)
    age(store)
    assert store.gc().blobs_kept == 42


def test_layers_named_by_chain_stay(store):
    """A snapshot that depends on its base is kept for the image that has both."""
    manifest = put_image(store, [put_layer(store, file("a")), put_layer(store, file("implied/b"))])
    paths = unpack(store, manifest)
    store.tag(ref("web"), manifest.descriptor)
    age(store)
    assert store.gc().snapshots_removed == 0
    assert all(path.is_dir() for path in paths)


def test_cache_rows_keep_what_they_need(store):
    layer = put_layer(store, file("a"))
    manifest = put_image(store, [layer])
    unpack(store, manifest)
    store.cache.put(b"k", "run", b"", digests=[layer.descriptor.digest, layer.diff_id])
    age(store)
    report = store.gc()
    assert (report.blobs_removed, report.snapshots_removed) == (2, 0)
    assert store.blobs.size(layer.descriptor.digest)
    store.cache.prune()
    report = store.gc()
    assert (report.blobs_removed, report.snapshots_removed) == (1, 1)


def test_pins(store):
    manifest = put_image(store, [put_layer(store, file("a"))])
    unpack(store, manifest)
    store.pin("container/1", [manifest.digest])
    store.pin("container/2", [manifest.digest])
    age(store)
    assert store.gc().blobs_removed == 0
    store.unpin("container/1")
    assert store.gc().blobs_removed == 0
    store.unpin("container/2")
    assert (store.gc().blobs_removed, store.gc().snapshots_kept) == (3, 0)


def test_dry_run_removes_nothing(store):
    put_image(store, [put_layer(store, file("a"))])
    age(store)
    report = store.gc(dry_run=True)
    assert report.blobs_removed == 3
    assert len(list(store.blobs.digests())) == 3
    assert store.gc() == report


def test_what_was_written_a_moment_ago_stays_without_any_lease(store):
    store.blobs.put(b"just now")
    assert store.gc(grace=60).blobs_removed == 0
    assert store.gc(grace=0).blobs_removed == 1


class TestLeases:
    def test_what_is_written_under_a_lease_stays(self, store):
        store.blobs.put(b"before")
        age(store)
        with store.lease("build"):
            digest = store.blobs.put(b"under")
            report = store.gc(grace=0)
            assert (report.blobs_removed, report.blobs_kept) == (1, 1)
            assert store.blobs.size(digest)
        assert store.gc(grace=0).blobs_removed == 1

    def test_what_was_found_to_be_there_stays(self, store):
        """The reference's abuse 4: told that it exists, not uploaded again, then collected."""
        digest = store.blobs.put(b"old")
        age(store)
        with store.lease("pull"):
            assert store.blobs.has(digest)
            assert store.gc(grace=0).blobs_removed == 0

    def test_unpacked_layers_too(self, store):
        manifest = put_image(store, [put_layer(store, file("a"))])
        with store.lease("run"):
            (path,) = unpack(store, manifest)
            store.gc(grace=0)
            assert path.is_dir()

    def test_a_young_manifest_keeps_old_layers(self, store):
        layer = put_layer(store, file("a"))
        age(store)
        with store.lease("build"):
            put_image(store, [layer])
            store.gc(grace=0)
            assert store.blobs.size(layer.descriptor.digest)

    def test_a_base_added_to_a_lease_stays(self, store):
        base = put_image(store, [put_layer(store, file("a"))])
        store.tag(ref("base"), base.descriptor)
        with store.lease("build") as lease:
            lease.add(base.digest)
            store.remove("base")
            age(store)
            assert store.gc(grace=0).blobs_removed == 0
        assert store.gc(grace=0).blobs_removed == 3

    def test_a_killed_process_holds_nothing(self, store):
        pid = os.fork()
        if pid == 0:
            store.lease("build").__enter__()
            store.blobs.put(b"half a build")
            os._exit(0)
        os.waitpid(pid, 0)
        report = store.gc(grace=0)
        assert (report.leases_expired, report.blobs_removed) == (1, 1)


def test_leftovers_of_killed_processes(store, monkeypatch):
    from images import blobs

    pid = os.fork()
    if pid == 0:
        store.blobs.writer().write(b"half")
        workspace = store.snapshots.new_workspace()
        workspace.__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    monkeypatch.setattr(blobs, "STAGE_GRACE", -1.0)
    monkeypatch.setattr(blobs, "DEAD_GRACE", -1.0)
    assert len(store.check()) == 2
    report = store.gc()
    assert (report.bytes_freed, report.leftovers_removed) == (4, 1)
    assert store.check() == []


def test_hostile_blobs_do_not_stop_it(store):
    store.blobs.put(b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}')
    store.blobs.put(b"{" * 5000)
    damaged = store.blobs.put(b'{"a":1}')
    store.blobs.path(damaged).write_bytes(b'{"b":1}')
    manifest = put_image(store, [])
    store.tag(ref("good"), manifest.descriptor)
    age(store)
    assert store.gc().blobs_removed == 3
    assert store.gc().blobs_kept == 2


def _soak(root, seed, stop):
    store = ImageStore.open(root)
    errors = 0
    for n in range(10_000):
        if stop.is_set():
            break
        try:
            with store.lease("build"):
                layers = [
                    put_layer(store, file("shared", b"s")),
                    put_layer(store, file(f"{n % 5}")),
                ]
                manifest = put_image(store, layers, label=f"{seed}")
                name = ref(f"soak{seed}:{n % 3}")
                store.tag(name, manifest.descriptor)
                unpack(store, manifest)
            found = store.image(store.resolve(name))
            for layer in found.manifest.layers:
                store.blobs.read(layer.digest)
            store.remove(name.familiar)
        except ImagesError as error:
            errors += 1
            print(error, flush=True)
    os._exit(min(errors, 100))


@pytest.mark.slow
def test_collections_in_a_loop_beside_builds_in_other_processes(store):
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    children = [context.Process(target=_soak, args=(store.root, n, stop)) for n in range(3)]
    for child in children:
        child.start()
    until = time.monotonic() + 8
    collected = 0
    # A slow machine may need longer until the first image is there and gone.
    while time.monotonic() < until or (collected == 0 and time.monotonic() < until + 60):
        collected += store.gc(grace=0).blobs_removed
    stop.set()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert collected > 0
    assert store.check(rehash=True) == []


def test_two_collections_at_once(store):
    for n in range(30):
        store.blobs.put(b"%d" % n)
    age(store)
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(store.gc())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.blobs_removed for report in reports) == [0, 30]


def test_registering_renews_what_it_leads_to(store):
    """An old dangling image gets a name while a collection has marked already."""
    manifest = put_image(store, [put_layer(store, file("a"))])
    age(store)
    began = time.time()
    store.tag(ref("back"), manifest.descriptor)
    for digest in (manifest.digest, manifest.config.digest, manifest.layers[0].digest):
        assert store.blobs.delete(digest, unless_younger_than=began - 1) == 0


def test_unknown_digests_in_the_database_are_harmless(store):
    store.pin("x", [Digest.of(b"never seen")])
    assert store.gc().blobs_removed == 0
    with contextlib.suppress(ImagesError):
        store.lookup("never")
