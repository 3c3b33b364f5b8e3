"""Layers and indexes made up for tests."""

from __future__ import annotations

from builder.remote.index import CacheIndex, CacheRecord
from builder.solver.records import StoredLayer
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_LAYER_GZIP

NOW = 1_700_000_000


def layer(name: str, *, size: int = 10, created: str = "2024-01-01T00:00:00Z") -> StoredLayer:
    """A layer whose digests follow from its name."""
    blob = Descriptor(OCI_LAYER_GZIP, Digest.of(name.encode()), size)
    return StoredLayer(Digest.of(f"diff {name}".encode()), blob, created)


def key(name: str) -> bytes:
    """A cache key."""
    return bytes.fromhex(Digest.of(name.encode()).hex)


def record(name: str, *layers: StoredLayer, used: int = NOW) -> CacheRecord:
    """A record of one key."""
    return CacheRecord((key(name),), layers or (layer(name),), f"RUN {name}", used)


def index(*names: str, used: int = NOW) -> CacheIndex:
    """An index of one record for each name, each with a layer of its own."""
    return CacheIndex(tuple(record(name, used=used) for name in names))


def names(found: CacheIndex) -> list[str]:
    """What records say of themselves."""
    return [it.description.removeprefix("RUN ") for it in found.records]
