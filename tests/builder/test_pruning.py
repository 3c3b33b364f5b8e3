"""The build cache as a list, and what of it goes."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from builder.errors import BuildInputError
from builder.pruning import Bounds, parse_duration, parse_filters, prune
from builder.usage import CACHE_MOUNT, INTERNAL, LAYER, CacheEntry, entries
from images.reference import Reference
from tests.builder.fakes import write
from tests.builder.workbench import Workbench

CHAIN = "FROM scratch\nRUN one\nRUN two\n"
MOUNT = "FROM scratch\nRUN --mount=type=cache,target=/c,id=pip x\n"


def layers(bench: Workbench) -> dict[str, CacheEntry]:
    return {e.description: e for e in entries(bench.store) if e.type == LAYER}


def age(bench: Workbench, seconds: float) -> None:
    """Let everything in the cache look older."""
    bench.store.db.execute("UPDATE cache SET used = used - ?", (seconds,))


def test_a_layer_is_one_entry_with_its_instruction(bench: Workbench) -> None:
    bench.build(CHAIN)
    found = layers(bench)
    assert set(found) == {"[1/2] RUN one", "[2/2] RUN two"}
    assert found["[2/2] RUN two"].depth == 1
    assert all(entry.size > 100 for entry in found.values())
    assert all(entry.shared for entry in found.values()), "the image holds them"


def test_layers_of_a_base_are_not_the_caches(bench: Workbench) -> None:
    bench.add_base("base", {"a": "1"})
    bench.build("FROM base\nRUN one\n")
    assert set(layers(bench)) == {"[2/2] RUN one"}


def test_what_is_stood_on_was_used_with_what_stands_on_it(bench: Workbench) -> None:
    bench.build(CHAIN)
    age(bench, 5000)
    bench.build(CHAIN)
    first, second = sorted(layers(bench).values(), key=lambda entry: entry.depth)
    assert first.used == second.used > time.time() - 1000
    order = [entry.description for entry in entries(bench.store) if entry.type == LAYER]
    assert order == ["[2/2] RUN two", "[1/2] RUN one"], "what stands above goes first"


def test_pruned_steps_are_done_again_and_the_store_stays_sound(bench: Workbench) -> None:
    result = bench.build(CHAIN)
    bench.store.remove(str(result.image_id), force=True)
    pruned = prune(bench.store)
    assert {entry.type for entry in pruned.removed} == {LAYER}
    assert pruned.freed == sum(entry.size for entry in pruned.removed) > 0
    assert layers(bench) == {}
    assert list(bench.store.blobs.digests()) == []
    assert list(bench.store.snapshots.ids()) == []
    bench.build(CHAIN)
    assert bench.runner.texts == ["one", "two"]
    assert bench.store.check(rehash=True) == []


def test_shared_layers_and_records_go_only_with_everything(bench: Workbench) -> None:
    bench.build(CHAIN, tags=(Reference.parse("kept"),))
    assert prune(bench.store).removed == ()
    pruned = prune(bench.store, everything=True)
    assert {LAYER, INTERNAL} <= {entry.type for entry in pruned.removed}
    assert pruned.freed < 10_000, "what the image holds is not freed"
    assert entries(bench.store) == []
    assert bench.store.check(rehash=True) == []
    bench.build(CHAIN)
    assert bench.runner.texts == ["one", "two"]


def test_removing_a_layer_takes_those_above_along(bench: Workbench) -> None:
    bench.build(CHAIN)
    wanted = parse_filters(["description~=one$"], 0)
    prune(bench.store, wanted=wanted, everything=True)
    bench.build(CHAIN)
    assert bench.runner.texts == ["one", "two"]


def test_bounds_keep_the_recently_used(bench: Workbench) -> None:
    def big(name: str):
        return {name: lambda step: write(step, name, os.urandom(50_000).hex())}

    first = bench.build("FROM scratch\nRUN old\n", big("old"))
    age(bench, 100)
    second = bench.build("FROM scratch\nRUN new\n", big("new"))
    for result in (first, second):
        bench.store.remove(str(result.image_id), force=True)
    assert prune(bench.store, bounds=Bounds(max_used_space=1 << 30)).removed == ()
    prune(bench.store, bounds=Bounds(max_used_space=200_000), everything=True)
    assert set(layers(bench)) == {"[1/1] RUN new"}


def test_a_cache_mount_is_an_entry_until_it_is_pruned(bench: Workbench) -> None:
    bench.build(MOUNT)
    (root,) = (bench.store.root / "builder/cache-mounts").glob("*/0")
    (root / "fs/wheel").write_bytes(b"x" * 1000)
    (entry,) = (entry for entry in entries(bench.store) if entry.type == CACHE_MOUNT)
    assert (entry.size, entry.mutable, entry.in_use) == (1000, True, False)
    assert entry.description == "cache mount pip"
    pruned = prune(bench.store, wanted=parse_filters(["type=exec.cachemount"], 0))
    assert pruned.freed == 1000
    assert not (root / "fs").exists()
    bench.build(MOUNT + "RUN --mount=type=cache,target=/c,id=pip y\n")
    assert (root / "fs").is_dir()


def test_a_cache_mount_in_use_stays(bench: Workbench) -> None:
    bench.build(MOUNT)
    (root,) = (bench.store.root / "builder/cache-mounts").glob("*/0")
    with (root / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        (entry,) = (entry for entry in entries(bench.store) if entry.type == CACHE_MOUNT)
        assert entry.in_use
        assert entry not in prune(bench.store, everything=True).removed
    assert (root / "fs").is_dir()


def test_parsed_files_are_entries(bench: Workbench, tmp_path: Path) -> None:
    bench.build(CHAIN)
    parsed = [entry for entry in entries(bench.store) if entry.description == "parsed Dockerfile"]
    assert len(parsed) == 1
    prune(bench.store, everything=True)
    assert not Path(parsed[0].path).exists()


@pytest.mark.parametrize(
    ("bounds", "used", "free", "kept"),
    [
        (Bounds(), 100, 0, 0),
        (Bounds(60), 100, 0, 60),
        (Bounds(60, 80), 100, 0, 80),
        (Bounds(None, 30), 100, 0, 30),
        (Bounds(None, None, 50), 100, 60, 100),
        (Bounds(None, None, 50), 100, 20, 70),
        (Bounds(60, 65, 50), 100, 0, 65),
    ],
)
def test_how_much_stays(bounds: Bounds, used: int, free: int, kept: int) -> None:
    assert bounds.keep(used, free) == kept


ENTRY = CacheEntry("abc", LAYER, 1, 0.0, 1000.0, "RUN make", shared=True)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("until=10m", True),
        ("until=2h", False),
        ("type=regular", True),
        ("type!=regular", False),
        ("id=ab", True),
        ("id==b", False),
        ("description~=^RUN", True),
        ("shared", True),
        ("shared=false", False),
        ("private", False),
        ("immutable", True),
        ("inuse", False),
    ],
)
def test_filters(text: str, holds: bool) -> None:
    assert parse_filters([text], 2000.0)(ENTRY) is holds


@pytest.mark.parametrize("text", ["", "until", "until=x", "type", "shared=maybe", "a=b", "id~=("])
def test_malformed_filters(text: str) -> None:
    with pytest.raises(BuildInputError):
        parse_filters([text], 0)


def test_durations() -> None:
    assert parse_duration("1h30m") == 5400
    assert parse_duration("7d") == 7 * 86400
