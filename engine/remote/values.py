"""Values of our own types as JSON and back: what a build is asked for, shown and answered with.

A value is written as ``{"": "TypeName", field: ...}``, a tuple as an array, bytes as
``{"": "bytes", "base64": ...}``, names that have a text of their own as ``{"": "Digest", "text":
...}``. Only the types listed here are made on reading, and each field has to hold what its
declaration says.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import os
import types
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from builder import contexts, request
from builder.progress import events
from builder.remote.index import CachedMount
from builder.runner import Dns, Resources, Ulimit
from builder.secrets import Secret
from builder.solver.elsewhere import Solved, SolvedStep
from builder.solver.records import StoredLayer
from engine.builds.remote_cache.options import CacheSource, CacheTarget
from engine.remote.errors import ChannelError
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.platform import Platform
from images.reference import Reference
from records import Record, field_names

_T = TypeVar("_T")

EVENTS: Final = (
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
)
TYPES: Final = {
    kind.__name__: kind
    for kind in (
        *EVENTS,
        request.BuildRequest,
        request.BuildResult,
        request.Change,
        request.Material,
        request.Site,
        request.StepVerdict,
        contexts.LocalContext,
        contexts.ImageContext,
        CachedMount,
        CacheSource,
        CacheTarget,
        Descriptor,
        Dns,
        Resources,
        Secret,
        Solved,
        SolvedStep,
        StoredLayer,
        Ulimit,
    )
}
_TEXTS: Final[Mapping[str, Any]] = {
    "Digest": Digest.parse,
    "Platform": Platform.parse,
    "Reference": partial(Reference.parse, default_tag=None),
}
"""Types that are their text."""
_NAMES: Final = {
    **TYPES,
    "Digest": Digest,
    "Mapping": Mapping,
    "NamedContext": contexts.LocalContext | contexts.ImageContext,
    "Path": Path,
    "Platform": Platform,
    "Reference": Reference,
    "os": os,
}
"""What declarations of fields may name."""
_BYTES: Final = "bytes"
_MAPPING: Final = "mapping"
_SET: Final = "set"


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
    if isinstance(value, frozenset):
        return {"": _SET, "items": [encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"": _MAPPING, "items": [[encode(k), encode(v)] for k, v in value.items()]}
    name = type(value).__name__
    if name in _TEXTS:
        return {"": name, "text": str(value)}
    if TYPES.get(name) is not type(value):
        raise TypeError(f"{name} does not travel")
    return {"": name, **{field: encode(getattr(value, field)) for field in _fields(type(value))}}


def decode(value: Any, *kinds: type[_T]) -> _T:
    """What ``encode`` was given: a value of one of the ``kinds``.

    Raises:
        ChannelError: not written by ``encode``, of another type, or with a field that is.
    """
    try:
        found = _decode(value)
        if not isinstance(found, kinds):
            raise ChannelError(f"it is a {type(found).__name__}")
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, ImagesError) as error:
        what = error.what if isinstance(error, ImagesError) else str(error)
        raise ChannelError(
            f"a value from the other end is not understood: {what[:200]}",
            fix="use the same release of lading on both sides",
        ) from error
    return found


def decode_all(value: Any, kind: type[_T], *, most: int) -> tuple[_T, ...]:
    """A list of values of one kind; raises as ``decode``."""
    found: tuple[Any, ...] = decode(value, tuple)
    if len(found) > most or not all(isinstance(item, kind) for item in found):
        raise ChannelError(f"the other end sent no list of {most} {kind.__name__} at most")
    return found


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
    if name == _SET:
        return frozenset(_decode(item) for item in fields["items"])
    if name in _TEXTS:
        return _TEXTS[name](fields["text"])
    kind = TYPES[name]
    made = {field: _decode(item) for field, item in fields.items()}
    hints = hints_of(kind)
    for field, item in made.items():
        if not _conforms(item, hints[field]):
            raise TypeError(f"{name} has a {field} that is none")
    return kind(**made)


@cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """The declared types of the fields of one that travels."""
    return get_type_hints(kind, localns=_NAMES)


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type, through and through."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_conforms(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and _all_conform(value, inner)
    if origin is frozenset:
        return isinstance(value, frozenset) and all(_conforms(it, inner[0]) for it in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(
            _conforms(key, inner[0]) and _conforms(item, inner[1]) for key, item in value.items()
        )
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return type(value) is int
    return isinstance(value, origin or hint)


def _all_conform(value: tuple[Any, ...], inner: tuple[Any, ...]) -> bool:
    if inner[-1:] == (...,):
        return all(_conforms(item, inner[0]) for item in value)
    return len(value) == len(inner) and all(map(_conforms, value, inner))


def _fields(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, Record):
        return field_names(kind)
    return tuple(field.name for field in dataclasses.fields(kind))
