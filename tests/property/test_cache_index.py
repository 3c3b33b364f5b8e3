"""The cache index: a round trip for any content, refusal for any bytes, merging as an algebra."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from builder.remote.index import (
    CachedMount,
    CacheFormatError,
    CacheIndex,
    CacheRecord,
    decode,
    encode,
)
from builder.remote.merging import Bounds, merge
from builder.solver.records import StoredLayer
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

NOW = 1_000_000

names = st.text(max_size=20)
seconds = st.integers(0, NOW)
TYPES = [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD]
blobs = st.integers(0, 30).map(
    lambda n: Descriptor(TYPES[n % 3], Digest.of(b"blob%d" % n), 7**n % (1 << 36))
)
layers = st.builds(
    StoredLayer, st.integers(0, 30).map(lambda n: Digest.of(b"diff%d" % n)), blobs, names
)
keys = st.integers(0, 40).map(lambda n: bytes([n]) * 32)
records = st.builds(
    CacheRecord,
    st.lists(keys, min_size=1, max_size=4, unique=True).map(tuple),
    st.lists(layers, min_size=1, max_size=6).map(tuple),
    names,
    seconds,
)
mounts = st.builds(CachedMount, names, layers, seconds)


@st.composite
def indexes(draw: st.DrawFn) -> CacheIndex:
    found = draw(st.lists(records, max_size=8))
    present = sorted({it.descriptor.digest for row in found for it in row.layers})
    bases = draw(st.sets(st.sampled_from(present))) if present else set()
    kept = draw(st.lists(mounts, max_size=3, unique_by=lambda it: it.id))
    mounted = {it.layer.descriptor.digest for it in kept}
    return CacheIndex(tuple(found), tuple(kept), frozenset(bases - mounted))


@given(indexes())
def test_what_is_written_is_read(index: CacheIndex) -> None:
    assert decode(encode(index)) == index


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(CacheFormatError):
        decode(raw)


@given(indexes(), st.data())
def test_a_damaged_document_is_read_or_refused(index: CacheIndex, data: st.DataObject) -> None:
    document = json.loads(encode(index))
    table = data.draw(st.sampled_from(["layers", "chains", "records", "mounts"]))
    odd = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    )
    rows = document[table]
    if rows and data.draw(st.booleans()):
        row = data.draw(st.integers(0, len(rows) - 1))
        if isinstance(rows[row], dict):
            rows[row][data.draw(st.sampled_from(sorted(rows[row])))] = data.draw(odd)
        else:
            rows[row] = data.draw(odd)
    else:
        document[table] = data.draw(odd)
    with suppress(CacheFormatError):
        decode(json.dumps(document).encode())


@given(indexes(), indexes())
def test_merging_loses_nothing_of_the_new_and_adds_no_key_twice(
    new: CacheIndex, old: CacheIndex
) -> None:
    merged = merge(new, old, Bounds(), now=NOW)
    first, rest = merged.records[: len(new.records)], merged.records[len(new.records) :]
    assert [it.layers for it in first] == [it.layers for it in new.records]
    assert all(set(was.keys) <= set(now.keys) for was, now in zip(new.records, first, strict=True))
    added = [key for record in rest for key in record.keys]
    known = {key for record in first for key in record.keys}
    assert len(added) == len(set(added))
    assert known.isdisjoint(added)
    assert decode(encode(merged)) == merged


@given(indexes(), indexes())
def test_merging_again_changes_nothing(new: CacheIndex, old: CacheIndex) -> None:
    once = merge(new, old, Bounds(), now=NOW)
    assert merge(new, once, Bounds(), now=NOW).kept() == once.kept()


@given(indexes(), indexes(), st.integers(0, 10), st.integers(0, 1 << 37))
def test_what_is_kept_of_the_old_is_within_bounds(
    new: CacheIndex, old: CacheIndex, count: int, size: int
) -> None:
    merged = merge(new, old, Bounds(layers=count, size=size), now=NOW)
    added = [blob for digest, blob in merged.kept().items() if digest not in new.kept()]
    assert len(added) <= count
    assert sum(blob.size for blob in added) <= size or not added
