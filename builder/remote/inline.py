"""The cache inside an image: a field of its config that says by which steps its layers were made.

The idea is BuildKit's ``moby.buildkit.cache.v0``; the field is ours. A record names the layers from
the lowest on by their chain id (OCI config.md, "Layer ChainID"), so that it stays true when an
exporter compresses them otherwise, and means nothing any more when it merges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from builder.errors import BuildInputError
from builder.solver.records import StoredLayer
from images.config import ImageConfig, chain_ids
from images.digest import HEX_LENGTHS
from images.strictjson import sequence

if TYPE_CHECKING:
    from builder.request import BuildRequest
    from builder.solver.elsewhere import SolvedStep
    from images.manifest import Manifest

FIELD: Final = "dev.lading.cache.v1"
ARGUMENT: Final = "BUILDKIT_INLINE_CACHE"
RECORDS: Final = 1000
"""Of one image, at most; it has a few for each layer."""
_KEY_DIGITS: Final = HEX_LENGTHS["sha256"]


def wanted(request: BuildRequest) -> bool:
    """Whether the image is to carry its cache: asked for, or by BuildKit's build argument."""
    argument = request.build_args.get(ARGUMENT, "").strip().lower()
    return request.inline_cache or argument in ("1", "true", "t", "yes")


def config_fields(steps: Iterable[SolvedStep]) -> Mapping[str, Any]:
    """What the config of an image that ``steps`` made has besides; equal for equal steps."""
    rows = [
        {"chain": str(_chain(step.layers)), "keys": sorted(key.hex() for key in step.keys)}
        for step in steps
        if step.final
    ]
    return {FIELD: {"records": rows[-RECORDS:]}} if rows else {}


def read_config(config: ImageConfig, manifest: Manifest) -> dict[bytes, tuple[StoredLayer, ...]]:
    """The records that an image carries, as layers of that image; empty for most images.

    Raises:
        BuildInputError: the field is malformed.
        InvalidManifestError: a part of it has another type.
    """
    document = config.to_json().get(FIELD)
    if document is None or len(config.diff_ids) != len(manifest.layers):
        return {}
    if not isinstance(document, dict):
        raise _malformed("it is no object")
    layers = _layers(config, manifest)
    lengths = {str(chain): n for n, chain in enumerate(chain_ids(config.diff_ids), 1)}
    found: dict[bytes, tuple[StoredLayer, ...]] = {}
    for row in sequence(document.get("records"), what="records")[:RECORDS]:
        if not isinstance(row, dict):
            raise _malformed("a record is no object")
        length = lengths.get(str(row.get("chain")))
        if length is None:
            continue
        for text in sequence(row.get("keys"), what="keys"):
            found[_key(text)] = layers[:length]
    return found


def _chain(layers: tuple[StoredLayer, ...]) -> object:
    return chain_ids([layer.diff_id for layer in layers])[-1]


def _layers(config: ImageConfig, manifest: Manifest) -> tuple[StoredLayer, ...]:
    """The image's layers, dated by their history entries where there is one for each."""
    dates = [entry.created or "" for entry in config.history if not entry.empty_layer]
    if len(dates) != len(config.diff_ids):
        dates = [config.created or ""] * len(config.diff_ids)
    rows = zip(config.diff_ids, manifest.layers, dates, strict=True)
    return tuple(StoredLayer(diff_id, layer, date) for diff_id, layer, date in rows)


def _key(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _KEY_DIGITS:
        raise _malformed(f"{str(text)[:80]!r} is no key")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _malformed(f"{text!r} is no key") from error


def _malformed(what: str) -> BuildInputError:
    return BuildInputError(f"the image's {FIELD} is malformed: {what}")
