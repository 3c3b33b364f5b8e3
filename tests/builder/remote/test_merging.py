"""Two indexes become one: what is new wins, what is old stays within bounds."""

from __future__ import annotations

from builder.remote.index import CachedMount, CacheIndex, decode, encode
from builder.remote.merging import DAY, Bounds, merge
from builder.solver.records import StoredLayer
from records import replace
from tests.builder.remote.kit import NOW, index, key, layer, names, record

WIDE = Bounds()


def test_the_records_of_both_are_there() -> None:
    merged = merge(index("new"), index("old"), WIDE, now=NOW)
    assert names(merged) == ["new", "old"]


def test_a_key_means_what_the_latest_build_says() -> None:
    old = CacheIndex((replace(record("a", layer("before")), keys=(key("a"), key("b"))),))
    merged = merge(CacheIndex((record("a", layer("after")),)), old, WIDE, now=NOW)
    found = {it: row.layers[0] for row in merged.records for it in row.keys}
    assert found == {key("a"): layer("after"), key("b"): layer("before")}


def test_keys_of_the_same_result_stay_with_it() -> None:
    old = CacheIndex((replace(record("a", used=NOW - 5), keys=(key("a"), key("by content"))),))
    (merged,) = merge(index("a"), old, WIDE, now=NOW).records
    assert (merged.keys, merged.used) == ((key("a"), key("by content")), NOW)


def test_what_was_used_last_is_kept() -> None:
    old = CacheIndex(tuple(record(str(n), used=NOW - n) for n in range(10)))
    merged = merge(index("new"), old, Bounds(layers=4), now=NOW)
    assert names(merged) == ["new", "0", "1", "2"]
    merged = merge(index("new"), old, Bounds(records=3), now=NOW)
    assert names(merged) == ["new", "0", "1"]


def test_bytes_are_counted_once_for_each_blob() -> None:
    shared, own = layer("shared", size=60), layer("own", size=30)
    old = CacheIndex((record("a", shared), record("b", shared, own)))
    assert names(merge(index("new"), old, Bounds(size=100), now=NOW)) == ["new", "a", "b"]
    assert names(merge(index("new"), old, Bounds(size=99), now=NOW)) == ["new", "a"]


def test_blobs_of_bases_cost_nothing() -> None:
    base: StoredLayer = layer("base", size=10**12)
    old = CacheIndex((record("a", base),), bases=frozenset({base.descriptor.digest}))
    merged = merge(index("new"), old, Bounds(size=100), now=NOW)
    assert names(merged) == ["new", "a"]
    assert base.descriptor.digest not in merged.kept()


def test_what_nobody_used_for_long_goes() -> None:
    old = CacheIndex((record("young", used=NOW - 29 * DAY), record("old", used=NOW - 31 * DAY)))
    assert names(merge(index(), old, WIDE, now=NOW)) == ["young"]


def test_what_was_just_built_stays_however_much_it_is() -> None:
    new = index(*map(str, range(20)))
    merged = merge(new, index("old"), Bounds(records=5, layers=5, size=5), now=NOW)
    assert names(merged) == list(map(str, range(20)))


def test_cache_mounts_are_replaced_one_by_one() -> None:
    mount = CachedMount("/cache", layer("m1"), NOW - 5)
    other = CachedMount("/other", layer("m2"), NOW - 5)
    new = CachedMount("/cache", layer("m3"), NOW)
    merged = merge(CacheIndex(mounts=(new,)), CacheIndex(mounts=(mount, other)), WIDE, now=NOW)
    assert merged.mounts == (new, other)
    assert set(merged.kept()) == {it.layer.descriptor.digest for it in (new, other)}


def test_a_huge_build_is_cut_to_what_can_be_read_again() -> None:
    long = replace(record("a"), description="x" * 5000, keys=tuple(map(key, map(str, range(40)))))
    merged = merge(CacheIndex((long,)), CacheIndex(), WIDE, now=NOW)
    assert decode(encode(merged)) == merged
