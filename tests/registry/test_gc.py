"""Collection: what goes, what stays, and that a dry run tells the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.collection.collector import CURSOR
from registry.collection.report import Progress
from registry.collection.settings import CollectionSettings, UntaggedRule
from registry.errors import CollectionBusyError
from registry.records import UploadRow
from registry.retention import RetentionRule
from tests.registry import kit
from tests.registry.kit import digest_of
from tests.registry.store_kit import DAY, HOUR, Store

RULED = CollectionSettings(untagged=(UntaggedRule(after=DAY),), undo=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, settings=RULED)
    yield store
    store.close()


def later(store: Store, seconds: float = 2 * DAY) -> None:
    store.clock.now += seconds


def test_nothing_goes_that_is_young_or_needed(store: Store) -> None:
    raw = store.push_image("a", "1", layers=[b"layer"])
    loose = store.push_blob("a", b"loose")
    assert store.collect().blobs == 0
    later(store)
    report = store.collect()
    assert (report.manifests, report.blobs, report.files, report.bytes) == (0, 1, 1, 5)
    assert not store.has("a", loose)
    assert not store.on_disk(loose)
    assert store.has("a", digest_of(raw))
    assert store.has("a", digest_of(b"layer"))
    assert store.collect().files == 0


def test_untagged_manifests_stay_without_a_rule(tmp_path: Path) -> None:
    store = Store(tmp_path)
    raw = store.push_image("a", "1", layers=[b"layer"])
    store.delete_tag("a", "1")
    later(store, 400 * DAY)
    assert store.collect().manifests == 0
    assert store.has("a", digest_of(raw))
    assert store.has("a", digest_of(b"layer"))
    store.close()


def test_untagged_manifests_go_by_rule_with_their_blobs(store: Store) -> None:
    raw = store.push_image("a", "1", layers=[b"layer"])
    store.delete_tag("a", "1")
    later(store, DAY / 2)
    assert store.collect().manifests == 0
    later(store)
    report = store.collect()
    assert (report.manifests, report.blobs, report.files) == (1, 2, 3)
    assert report.empty_repositories == 1
    assert not store.on_disk(digest_of(raw))
    assert not store.index.has_repository("a")


def test_indexes_keep_their_children_and_referrers_follow_their_subject(store: Store) -> None:
    child = store.push_image("a", layers=[b"c"])
    top = kit.index([child])
    store.push_manifest("a", top, "multi")
    signature = kit.manifest(subject=kit.descriptor(top, "application/vnd.oci.image.index.v1+json"))
    store.push_manifest("a", signature)
    of_signature = kit.manifest(subject=kit.descriptor(signature, kit.OCI_MANIFEST), annotations={})
    store.push_manifest("a", of_signature)
    every = [digest_of(raw) for raw in (child, top, signature, of_signature)]
    later(store)
    assert store.collect().manifests == 0
    assert all(store.has("a", digest) for digest in every)
    store.delete_tag("a", "multi")
    assert store.collect().manifests == 4
    assert not any(store.has("a", digest) for digest in every)


def test_referrers_without_their_subject_wait(store: Store) -> None:
    subject = kit.manifest(layers=[b"not yet"])
    store.push_blob("a", b"{}")
    signature = kit.manifest(subject=kit.descriptor(subject, kit.OCI_MANIFEST))
    digest = store.push_manifest("a", signature)
    later(store)
    assert store.collect().manifests == 0
    later(store, 7 * DAY)
    assert store.collect().manifests == 1
    assert not store.has("a", digest)


def test_a_tagged_referrer_stays_without_its_subject(store: Store) -> None:
    subject = store.push_image("a", "image")
    signature = kit.manifest(subject=kit.descriptor(subject, kit.OCI_MANIFEST))
    digest = store.push_manifest("a", signature, "signature")
    store.delete("a", digest_of(subject))
    later(store, 30 * DAY)
    store.collect()
    assert store.has("a", digest)


def test_06_one_of_two_repositories_that_share_a_blob(store: Store) -> None:
    raw = store.push_image("origin", "1", layers=[b"shared"])
    digest = digest_of(b"shared")
    assert store.index.write("copy", partial(store.index.mount_blob, "origin", "copy", digest))
    store.push_image("copy", "1", layers=[b"shared"])
    later(store)
    store.delete("origin", digest_of(raw))
    report = store.collect()
    assert (report.blobs, report.files) == (2, 0)
    assert not store.has("origin", digest)
    assert store.has("copy", digest)


def test_05_push_again_what_was_collected(store: Store) -> None:
    raw = store.push_image("a", "1", layers=[b"layer"])
    later(store)
    store.delete("a", digest_of(raw))
    assert store.collect().files == 3
    store.push_image("a", "1", layers=[b"layer"])
    assert store.has("a", digest_of(b"layer"))
    assert store.collect().files == 0


def test_07_diamonds_of_forty_levels(store: Store) -> None:
    level = [store.push_image("a", layers=[bytes([n])]) for n in range(2)]
    for number in range(40):
        level = [kit.index(level, annotations={"n": f"{number}-{side}"}) for side in "lr"]
        for raw in level:
            store.push_manifest("a", raw)
    store.push_manifest("a", level[0], "top")
    later(store)
    assert store.collect().manifests == 1, "the other half of the last level"
    store.delete_tag("a", "top")
    steps: list[Progress] = []
    report = store.collector().run(progress=steps.append)
    assert report.manifests == 2 + 40 * 2 - 1
    assert len(steps) < 90, "each level is one batch"


def test_07_a_forged_cycle_ends(store: Store) -> None:
    """Digests cannot form a cycle; rows that somebody forged must not loop."""
    raw = store.push_image("a")
    insert = "INSERT INTO manifest_references SELECT id, ?, ? FROM repositories"
    store.index.writer.execute(insert, (digest_of(raw), digest_of(raw)))
    later(store)
    assert store.collect().manifests == 1


def test_killed_uploads_leave_nothing(store: Store) -> None:
    """A blob that was renamed into place, while its row never came."""
    path = store.root / "blobs" / "sha256" / ("a" * 64)
    path.write_bytes(b"orphan")
    os.utime(path, (store.clock(), store.clock()))
    assert store.collect().files == 0
    later(store)
    report = store.collect()
    assert (report.files, report.bytes) == (1, 6)
    assert not path.exists()


def test_22_dead_uploads_end(store: Store) -> None:
    for name in ("resting", "active"):
        store.storage.create(name, "sha256")
        row = UploadRow(name, "a", "sha256")
        store.index.write("a", partial(store.index.create_upload, row))
    store.storage.create("stray", "sha256")
    later(store)
    stage = store.storage.resume("active", "sha256")
    assert stage.acquire()
    os.utime(store.root / "uploads" / "active", (store.clock(), store.clock()))
    assert store.collect().uploads == 2
    stage.release()
    assert os.listdir(store.root / "uploads") == ["active"]
    assert store.index.upload("resting") is None


def test_22_empty_repositories_vanish(store: Store) -> None:
    digest = store.push_blob("empty", b"x")
    store.push_image("full", "1")
    later(store)
    assert store.collect().empty_repositories == 1
    assert store.index.catalog(last="", limit=9) == ["full"]
    assert not store.on_disk(digest)


def test_a_budget_stops_it_and_the_next_run_goes_on(store: Store) -> None:
    for number in range(5):
        store.push_blob(f"r{number}", b"x%d" % number)
    later(store)
    collector = store.collector()
    reports = [collector.run(budget=0)]
    assert not reports[0].finished
    stops = iter([False] * 4 + [True] * 99)
    reports.append(collector.run(stop=lambda: next(stops)))
    cursor = store.index.fact(CURSOR)
    assert cursor is not None
    names: list[str] = []
    while not reports[-1].finished:
        left = iter([False] * 5 + [True] * 99)
        reports.append(
            collector.run(
                stop=lambda left=left: next(left), progress=lambda p: names.append(p.name)
            )
        )
    assert min(name for name in names if name) > cursor
    assert sum(report.blobs for report in reports) == 5
    assert not any((store.root / "blobs" / "sha256").iterdir())
    assert store.index.fact(CURSOR) is None


def test_one_at_a_time(store: Store) -> None:
    collector = store.collector()

    def again(_: Progress) -> None:
        with pytest.raises(CollectionBusyError):
            collector.run()

    collector.run(progress=again)
    collector.run()


def test_retention_and_its_dry_run(tmp_path: Path) -> None:
    rule = RetentionRule(tags="nightly-*", keep_last=2)
    store = Store(tmp_path, settings=RULED, retention=[rule])
    for number in range(5):
        store.push_image("a", f"nightly-{number}", layers=[b"%d" % number])
        later(store, HOUR)
    store.push_image("a", "release", layers=[b"r"])
    later(store)
    report = store.collect()
    assert (report.tags, report.manifests, report.files) == (3, 3, 6)
    assert store.index.tags("a", last="", limit=9) == ["nightly-3", "nightly-4", "release"]
    store.close()


def test_retention_knows_the_order_of_pushes_within_a_second(tmp_path: Path) -> None:
    store = Store(tmp_path, settings=RULED, retention=[RetentionRule(keep_last=2)])
    for turn, name in enumerate(("b", "d", "c", "a", "d")):
        store.push_image("a", name, layers=[b"%d" % turn])
    store.collect()
    assert store.index.tags("a", last="", limit=9) == ["a", "d"]
    store.close()


def test_what_a_tag_pointed_to_stays_for_the_undo_window(tmp_path: Path) -> None:
    settings = CollectionSettings(untagged=(UntaggedRule(after=0.0),), undo=3 * DAY)
    store = Store(tmp_path, settings=settings)
    old = store.push_image("a", "1", layers=[b"old"])
    later(store)
    store.push_image("a", "1", layers=[b"new"])
    later(store)
    assert store.collect().manifests == 0
    assert store.has("a", digest_of(old))
    later(store)
    assert store.collect().manifests == 1
    store.close()


def test_old_moves_are_forgotten(store: Store) -> None:
    store.push_image("a", "1")
    later(store, 91 * DAY)
    store.push_image("a", "1", layers=[b"x"])
    store.collect()
    assert len(store.index.tag_history("a", "1", limit=9)) == 1
