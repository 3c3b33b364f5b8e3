"""The cache index: which keys lead to which layers, as one JSON document behind an OCI manifest.

The manifest has the shape of an image's, which every registry takes: its config is the index, its
layers are the layers of the records, so that no registry's collection removes them. In the index a
chain is a layer on top of another chain, so its size grows with the steps and not with their
square. Layers of base images are named but not kept: every machine has them from where the image
is.

What is read comes from others. Counts, depths and sizes are bounded here; that a blob has its
digest is checked while it streams, that a layer has its diff id where it is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from builder.errors import BuildError
from builder.solver.records import StoredLayer
from images import strictjson
from images.descriptor import Descriptor
from images.digest import HEX_LENGTHS, Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY, is_layer
from records import Record, field

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1
ARTIFACT_TYPE: Final = "application/vnd.lading.cache.v1"
INDEX_TYPE: Final = "application/vnd.lading.cache.index.v1+json"

INDEX_LIMIT: Final = 8 << 20
"""Bytes of an index that is read."""
RECORDS: Final = 10_000
LAYERS: Final = 4_000
DEPTH: Final = 256
"""Layers on top of one another; overlayfs stacks half as many."""
KEYS: Final = 16
"""Of one record."""
MOUNTS: Final = 256
LAYER_LIMIT: Final = 64 << 30
"""Bytes of one layer as it is stored."""
TEXT: Final = 1024
"""Characters of a description or a mount's id."""

EMPTY: Final = b"{}"
"""The OCI empty descriptor's content: a manifest needs a layer."""

_KEY_DIGITS: Final = HEX_LENGTHS["sha256"]


class CacheFormatError(BuildError):
    """What should be a cache is something else, or damaged, or out of bounds."""

    code = "cache-format"


class CacheRecord(Record):
    """One step's result under all its keys; ``used`` in seconds since the epoch."""

    keys: tuple[bytes, ...]
    layers: tuple[StoredLayer, ...]
    description: str = ""
    used: int = 0


class CachedMount(Record):
    """What a cache mount held, as a layer."""

    id: str
    layer: StoredLayer
    used: int = 0


class CacheIndex(Record):
    """What one cache knows."""

    records: tuple[CacheRecord, ...] = ()
    mounts: tuple[CachedMount, ...] = ()
    bases: frozenset[Digest] = field(default_factory=frozenset)
    """Blobs that the cache names and does not keep."""

    def kept(self) -> dict[Digest, Descriptor]:
        """The blobs that the cache keeps, in a steady order."""
        layers = [*_layers_of(self.records), *(mount.layer for mount in self.mounts)]
        found = {layer.descriptor.digest: layer.descriptor for layer in layers}
        return {digest: blob for digest, blob in found.items() if digest not in self.bases}


def encode(index: CacheIndex) -> bytes:
    """The index as JSON; equal indexes give equal bytes."""
    return strictjson.dumps(_Encoder(index).document())


def decode(raw: bytes) -> CacheIndex:
    """Read an index that anybody may have written.

    Raises:
        CacheFormatError: malformed, of another format, or out of bounds.
    """
    try:
        document = strictjson.loads(raw, what="cache index", limit=INDEX_LIMIT)
        if document.get("format") != FORMAT:
            raise CacheFormatError(
                f"unknown cache format {str(document.get('format'))[:20]!r}",
                fix="it was written by another version; let this one write it anew",
            )
        return _decode(document)
    except CacheFormatError:
        raise
    except (ImagesError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise CacheFormatError(f"the cache index is malformed: {error}") from error


def manifest_of(index: CacheIndex) -> tuple[bytes, Manifest]:
    """The encoded index and the manifest that points to it and to all that it keeps."""
    raw = encode(index)
    config = Descriptor(INDEX_TYPE, Digest.of(raw), len(raw))
    layers = list(index.kept().values()) or [Descriptor(OCI_EMPTY, Digest.of(EMPTY), len(EMPTY))]
    return raw, Manifest.build(config, layers, artifact_type=ARTIFACT_TYPE)


def is_cache(manifest: Manifest) -> bool:
    """Whether a manifest is one of ours, also where a registry forgot the artifact type."""
    return manifest.config.media_type == INDEX_TYPE


class _Encoder:
    """Numbers layers and chains as they come up."""

    def __init__(self, index: CacheIndex) -> None:
        self._index = index
        self._layers: dict[StoredLayer, int] = {}
        self._chains: dict[tuple[int, int], int] = {}

    def document(self) -> dict[str, Any]:
        records = [
            {
                "keys": [key.hex() for key in record.keys],
                "chain": self._chain(record.layers),
                "description": record.description,
                "used": record.used,
            }
            for record in self._index.records
        ]
        mounts = [
            {"id": mount.id, "layer": self._layer(mount.layer), "used": mount.used}
            for mount in self._index.mounts
        ]
        return {
            "format": FORMAT,
            "layers": [self._row(layer) for layer in self._layers],
            "chains": [list(pair) for pair in self._chains],
            "records": records,
            "mounts": mounts,
        }

    def _layer(self, layer: StoredLayer) -> int:
        return self._layers.setdefault(layer, len(self._layers))

    def _chain(self, layers: Sequence[StoredLayer]) -> int:
        chain = -1
        for layer in layers:
            chain = self._chains.setdefault((chain, self._layer(layer)), len(self._chains))
        return chain

    def _row(self, layer: StoredLayer) -> dict[str, Any]:
        blob = layer.descriptor
        row = {
            "diffID": str(layer.diff_id),
            "mediaType": blob.media_type,
            "digest": str(blob.digest),
            "size": blob.size,
            "created": layer.created,
        }
        return {**row, "base": True} if blob.digest in self._index.bases else row


def _decode(document: Mapping[str, Any]) -> CacheIndex:
    rows = _bounded(document, "layers", LAYERS)
    layers = [_layer(row) for row in rows]
    bases = frozenset(
        layer.descriptor.digest
        for layer, row in zip(layers, rows, strict=True)
        if row.get("base") is True
    )
    chains = _chains(_bounded(document, "chains", LAYERS + RECORDS), layers)
    records = tuple(_record(row, chains) for row in _bounded(document, "records", RECORDS))
    mounts = tuple(_mount(row, layers) for row in _bounded(document, "mounts", MOUNTS))
    return CacheIndex(records, mounts, bases)


def _chains(rows: Sequence[Any], layers: Sequence[StoredLayer]) -> list[tuple[StoredLayer, ...]]:
    chains: list[tuple[StoredLayer, ...]] = []
    for row in rows:
        parent, layer = row
        below = () if parent == -1 else chains[_number(parent, len(chains))]
        if len(below) >= DEPTH:
            raise CacheFormatError(f"a chain has more than {DEPTH} layers")
        chains.append((*below, layers[_number(layer, len(layers))]))
    return chains


def _layer(row: Mapping[str, Any]) -> StoredLayer:
    media_type = _text(row["mediaType"])
    if not is_layer(media_type):
        raise CacheFormatError(f"{media_type[:100]!r} is not the type of a layer")
    digest, diff_id = Digest.parse(_text(row["digest"])), Digest.parse(_text(row["diffID"]))
    blob = Descriptor(media_type, digest, _number(row["size"], LAYER_LIMIT + 1))
    return StoredLayer(diff_id, blob, _text(row["created"]))


def _record(row: Mapping[str, Any], chains: Sequence[tuple[StoredLayer, ...]]) -> CacheRecord:
    keys = tuple(_key(text) for text in _bounded(row, "keys", KEYS))
    layers = chains[_number(row["chain"], len(chains))]
    return CacheRecord(keys, layers, _text(row["description"]), _number(row["used"], 1 << 62))


def _mount(row: Mapping[str, Any], layers: Sequence[StoredLayer]) -> CachedMount:
    layer = layers[_number(row["layer"], len(layers))]
    return CachedMount(_text(row["id"]), layer, _number(row["used"], 1 << 62))


def _bounded(document: Mapping[str, Any], name: str, limit: int) -> list[Any]:
    rows = document[name]
    if not isinstance(rows, list) or len(rows) > limit:
        raise CacheFormatError(f"{name} of the cache index is no list of at most {limit}")
    return rows


def _number(value: object, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise CacheFormatError(f"{str(value)[:40]} is not a number below {end}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT:
        raise CacheFormatError(f"a text of the cache index is longer than {TEXT} characters")
    return value


def _key(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != _KEY_DIGITS or not value.isascii():
        raise CacheFormatError(f"{str(value)[:80]!r} is no cache key")
    return bytes.fromhex(value)


def _layers_of(records: Iterable[CacheRecord]) -> Iterable[StoredLayer]:
    return (layer for record in records for layer in record.layers)
