"""Cache keys: framed fields under a format version, so that two different inputs never share a key.

Every value is written as a type byte, the length of what follows and the value; a field is its
tag and its value, both framed. A sequence frames its items, so ``["a", "bc"]`` and ``["ab", "c"]``
differ (design D5). Nothing here reads a clock, a file or the environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

FORMAT_VERSION = 1
"""Part of every key. Raise it whenever the meaning of a field or the layer format changes."""

KeyValue: TypeAlias = (
    "str | bytes | int | bool | Sequence[KeyValue] | Mapping[str, KeyValue] | None"
)
KeyField: TypeAlias = tuple[str, KeyValue]


def frame(value: KeyValue) -> bytes:
    """The unambiguous byte form of ``value``; mappings are written by sorted key."""
    # The commonest first: large contexts come through here once or twice per file.
    if isinstance(value, str):
        return _framed(b"s", value.encode("utf-8", "surrogateescape"))
    if isinstance(value, bool):
        return _framed(b"o", b"1" if value else b"0")
    if isinstance(value, int):
        return _framed(b"i", b"%d" % value)
    if isinstance(value, bytes):
        return _framed(b"b", value)
    if isinstance(value, tuple | list):
        return _framed(b"l", b"".join([frame(item) for item in value]))
    if value is None:
        return _framed(b"n", b"")
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape"))
        return _framed(b"m", b"".join(frame(key) + frame(item) for key, item in items))
    return frame(tuple(value))


def key_of(kind: str, fields: Iterable[KeyField]) -> bytes:
    """The 32-byte key of ``fields``, in the order given, for records of this ``kind``."""
    hasher = hashlib.sha256(frame(("lading build key", FORMAT_VERSION, kind)))
    for tag, value in fields:
        hasher.update(frame(tag))
        hasher.update(frame(value))
    return hasher.digest()


def _framed(kind: bytes, payload: bytes) -> bytes:
    return b"%s%d:%s" % (kind, len(payload), payload)
