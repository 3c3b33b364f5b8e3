"""Values of our own types as JSON and back: what a build is asked for, shown and answered with.

A value is written as ``{"": "TypeName", field: ...}``, a tuple as an array, bytes as
``{"": "bytes", "base64": ...}``. Only the types listed here are made on reading.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from builder import contexts, request
from builder.progress import events
from builder.runner import Dns, Resources, Ulimit
from builder.secrets import Secret
from engine.builds.remote_cache.options import CacheSource, CacheTarget
from engine.remote.errors import ChannelError
from images.descriptor import Descriptor
from images.digest import Digest
from images.platform import Platform
from images.reference import Reference
from records import Record, field_names

_TYPES: Final = {
    kind.__name__: kind
    for kind in (
        request.BuildRequest,
        request.BuildResult,
        request.Change,
        request.Material,
        request.StepVerdict,
        contexts.LocalContext,
        contexts.ImageContext,
        events.ContextRead,
        events.DefinitionRead,
        events.LayerStored,
        events.MaterialFound,
        events.VertexCached,
        events.VertexDone,
        events.VertexFailed,
        events.VertexOutput,
        events.VertexStarted,
        events.WarningRaised,
        CacheSource,
        CacheTarget,
        Descriptor,
        Digest,
        Dns,
        Platform,
        Reference,
        Resources,
        Secret,
        Ulimit,
    )
}
_BYTES: Final = "bytes"
_MAPPING: Final = "mapping"


def encode(value: Any) -> Any:
    """A value as what ``json`` can write.

    Raises:
        TypeError: of a type that does not travel.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return {"": _BYTES, "base64": base64.b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {"": _MAPPING, "items": [[encode(k), encode(v)] for k, v in value.items()]}
    name = type(value).__name__
    if _TYPES.get(name) is not type(value):
        raise TypeError(f"{name} does not travel")
    return {"": name, **{field: encode(getattr(value, field)) for field in _fields(type(value))}}


def decode(value: Any) -> Any:
    """What ``encode`` was given.

    Raises:
        ChannelError: not written by ``encode``.
    """
    try:
        return _decode(value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ChannelError(
            f"a value from the other end is not understood: {error}",
            fix="use the same release of lading on both sides",
        ) from error


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    name = fields.pop("")
    if name == _BYTES:
        return base64.b64decode(fields["base64"], validate=True)
    if name == _MAPPING:
        return {_decode(key): _decode(item) for key, item in fields["items"]}
    return _TYPES[name](**{field: _decode(item) for field, item in fields.items()})


def _fields(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, Record):
        return field_names(kind)
    return tuple(field.name for field in dataclasses.fields(kind))
