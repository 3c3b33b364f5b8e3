"""Two indexes become one: what is new first, then the latest of what was there, within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from builder.remote.index import (
    KEYS,
    LAYERS,
    MOUNTS,
    RECORDS,
    TEXT,
    CacheIndex,
    CacheRecord,
)
from records import Record, replace

if TYPE_CHECKING:
    from builder.solver.records import StoredLayer
    from images.descriptor import Descriptor
    from images.digest import Digest

DAY: Final = 86400


class Bounds(Record):
    """How much of earlier builds a cache keeps; what the latest one made stays in any case.

    ``size`` in bytes of layers as they are stored, ``age`` in seconds since the last use.
    """

    records: int = 2_000
    layers: int = 500
    size: int = 10 * 10**9
    age: int = 30 * DAY


def merge(new: CacheIndex, old: CacheIndex, bounds: Bounds, *, now: int) -> CacheIndex:
    """``new``, and of ``old`` what it does not replace: the last used first, within ``bounds``."""
    new = _cut(new)
    known = {key for record in new.records for key in record.keys}
    # What was just sent is there, whatever it was to others.
    bases = new.bases | (old.bases - new.kept().keys())
    room = _Room(bounds, new, bases)
    # The same result under more keys, which need not be looked for in every build.
    records = _with_keys(new.records, old.records, known)
    for record in sorted(old.records, key=lambda it: -it.used):
        rest = tuple(key for key in record.keys if key not in known)
        recent = record.used >= now - bounds.age
        if len(records) >= bounds.records:
            break
        if rest and recent and room.take(layer.descriptor for layer in record.layers):
            known.update(rest)
            records.append(replace(record, keys=rest))
    mounts = list(new.mounts)
    taken = {mount.id for mount in mounts}
    for mount in sorted(old.mounts, key=lambda it: -it.used):
        blob = mount.layer.descriptor
        wanted = mount.id not in taken and blob.digest not in bases
        if wanted and mount.used >= now - bounds.age and room.take([blob]):
            mounts.append(mount)
            taken.add(mount.id)
    named = {layer.descriptor.digest for record in records for layer in record.layers}
    return CacheIndex(tuple(records), tuple(mounts[:MOUNTS]), bases & named)


def _with_keys(
    new: Iterable[CacheRecord], old: Iterable[CacheRecord], known: set[bytes]
) -> list[CacheRecord]:
    """``new`` with the keys that equal results had before; they are ``known`` then."""
    more: dict[tuple[StoredLayer, ...], list[bytes]] = {}
    for record in old:
        more.setdefault(record.layers, []).extend(key for key in record.keys if key not in known)
    found = []
    for record in new:
        keys = tuple(dict.fromkeys((*record.keys, *more.pop(record.layers, ()))))[:KEYS]
        known.update(keys)
        found.append(replace(record, keys=keys))
    return found


class _Room:
    """Counts blobs, each once."""

    def __init__(self, bounds: Bounds, new: CacheIndex, bases: frozenset[Digest]) -> None:
        self._taken: set[Digest] = set(bases)
        self._layers = bounds.layers
        self._bytes = bounds.size
        self._count(new.kept().values())

    def take(self, blobs: Iterable[Descriptor]) -> bool:
        """Whether there is room for them, which is theirs then."""
        missing = {it.digest: it for it in blobs if it.digest not in self._taken}
        if len(missing) > self._layers or sum(it.size for it in missing.values()) > self._bytes:
            # Nothing older goes in instead: a cache that keeps what is old would never forget it.
            self._layers = self._bytes = 0
            return not missing
        self._count(missing.values())
        return True

    def _count(self, blobs: Iterable[Descriptor]) -> None:
        for blob in blobs:
            if blob.digest not in self._taken:
                self._taken.add(blob.digest)
                self._layers -= 1
                self._bytes -= blob.size


def _cut(index: CacheIndex) -> CacheIndex:
    """An index that can be read again, whatever a build came up with."""
    records: list[CacheRecord] = []
    layers: set[StoredLayer] = set()
    for record in index.records[-RECORDS:]:
        layers.update(record.layers)
        if len(layers) > LAYERS - MOUNTS:
            break
        short = record.description[:TEXT]
        records.append(replace(record, keys=record.keys[:KEYS], description=short))
    mounts = tuple(mount for mount in index.mounts if len(mount.id) <= TEXT)
    return replace(index, records=tuple(records), mounts=mounts[:MOUNTS])
