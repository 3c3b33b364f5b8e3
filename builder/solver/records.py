"""What the cache holds: for each key, the layers of the step's result, bottom first.

A record names blobs, which garbage collection keeps as long as the record is there; it is believed
only while all of them are in the store. Records are JSON with a format number of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from builder.keys import key_of
from images.descriptor import Descriptor
from images.digest import Digest
from records import Record

if TYPE_CHECKING:
    from builder.solver.elsewhere import Elsewhere

RECORD_FORMAT = 1


class StoredLayer(Record):
    """A layer whose blob is in the store; ``created`` is RFC 3339 text, empty for base layers."""

    diff_id: Digest
    descriptor: Descriptor
    created: str = ""


class KeyValueStore(Protocol):
    """The durable map that records live in; safe to use from several threads and processes."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def put(self, key: bytes, kind: str, value: bytes, digests: Sequence[Digest] = ()) -> None:
        """Store or replace; garbage collection keeps the blobs ``digests`` meanwhile."""


class BlobIndex(Protocol):
    """Says which blobs exist."""

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""


class StepRecords:
    """Results of steps by cache key; ``elsewhere`` is asked for what is not here."""

    def __init__(
        self, values: KeyValueStore, blobs: BlobIndex, elsewhere: Elsewhere | None = None
    ) -> None:
        self._values = values
        self._blobs = blobs
        self._elsewhere = elsewhere
        self._made: dict[bytes, tuple[StoredLayer, ...]] = {}

    def find(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        """The layers recorded under ``key``; None when unknown or when a blob has gone."""
        raw = self._values.get(key)
        layers = None if raw is None else decode_layers(raw)
        if layers is not None and all(self._has(layer.descriptor.digest) for layer in layers):
            return layers
        return None if self._elsewhere is None else self._elsewhere.find(key)

    def made(self) -> list[tuple[bytes, tuple[StoredLayer, ...]]]:
        """What was saved here, where somebody elsewhere may want to know."""
        return list(self._made.items())

    def _has(self, digest: Digest) -> bool:
        known = self._blobs.has(digest)
        return known or (self._elsewhere is not None and self._elsewhere.has(digest))

    def save(self, key: bytes, layers: Iterable[StoredLayer], description: str = "") -> None:
        """Record a result; its blobs must be in the store already."""
        layers = tuple(layers)
        if self._elsewhere is not None:
            self._made[key] = layers
        # Unpacked layers are not asked for: they can be made again from the blobs.
        digests = [layer.descriptor.digest for layer in layers]
        self._values.put(key, "step", encode_layers(layers, description), digests)


def encode_layers(layers: Iterable[StoredLayer], description: str = "") -> bytes:
    """Layers as the bytes of a record; ``description`` is for people."""
    rows = [
        {
            "diffID": str(layer.diff_id),
            "descriptor": layer.descriptor.to_json(),
            "created": layer.created,
        }
        for layer in layers
    ]
    document = {"format": RECORD_FORMAT, "layers": rows, "description": description}
    return json.dumps(document).encode()


def decode_description(raw: bytes) -> str:
    """What a record says of itself."""
    return str(json.loads(raw).get("description", ""))


def decode_layers(raw: bytes) -> tuple[StoredLayer, ...] | None:
    """The layers of a record; None for another format, which counts as no record."""
    document: dict[str, Any] = json.loads(raw)
    if document.get("format") != RECORD_FORMAT:
        return None
    return tuple(
        StoredLayer(
            Digest.parse(row["diffID"]), Descriptor.from_json(row["descriptor"]), row["created"]
        )
        for row in document["layers"]
    )


def chain_fields(layers: Sequence[StoredLayer]) -> tuple[str, ...]:
    """What identifies the files of stacked layers in a key."""
    return tuple(str(layer.diff_id) for layer in layers)


def slot_key(fields: Sequence[str]) -> bytes:
    """The key under which the latest components of one place in one Dockerfile are kept."""
    return key_of("slot", [("slot", tuple(fields))])
