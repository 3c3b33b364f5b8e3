"""Typed access to JSON from strangers, on top of the strict parser of ``images.strictjson``.

Rule: a document that two parsers could read differently is refused, and so is a member nobody asked
for. Every failure is one exception, ``FieldError``, which the caller turns into its own error with
``raise ... from``.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from images import strictjson
from images.errors import ImagesError


class FieldError(ValueError):
    """The bytes are not the strict JSON that was expected; the text says where and why."""


def parse(data: bytes, *, what: str, limit: int) -> dict[str, Any]:
    """Parse one JSON object of at most ``limit`` bytes; ``what`` names it in errors.

    Raises:
        FieldError: too long, too deep, not UTF-8, not JSON, or a name appears twice in one object.
    """
    try:
        return strictjson.loads(data, what=what, limit=limit)
    except ImagesError as error:
        raise FieldError(error.what) from error


def members(
    value: object, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = (), at: str
) -> dict[str, Any]:
    """Return ``value`` as an object that has all of ``required`` and nothing beyond ``optional``.

    Raises:
        FieldError: not an object, a name missing, or a name nobody asked for.
    """
    found = mapping(value, at=at)
    for name in required:
        if name not in found:
            raise FieldError(f"{at} has no {name!r}")
    for name in found:
        if name not in required and name not in optional:
            raise FieldError(f"{at} has an unknown member {name[:80]!r}")
    return found


def mapping(value: object, *, at: str) -> dict[str, Any]:
    """Return ``value`` as an object with any members; raises ``FieldError``."""
    if not isinstance(value, dict):
        raise FieldError(f"{at} must be an object")
    return value


def text(value: object, *, at: str) -> str:
    """Return ``value`` as a string that UTF-8 can express; raises ``FieldError``."""
    if not isinstance(value, str):
        raise FieldError(f"{at} must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FieldError(f"{at} holds half a surrogate pair") from error
    return value


def array(value: object, *, at: str, most: int) -> list[Any]:
    """Return ``value`` as an array of at most ``most`` items; raises ``FieldError``."""
    if not isinstance(value, list):
        raise FieldError(f"{at} must be an array")
    if len(value) > most:
        raise FieldError(f"{at} has {len(value)} items, more than {most}")
    return value


def canonical_base64(value: object, *, at: str) -> bytes:
    """Decode standard base64 that has exactly one spelling (RFC 4648 section 3.5).

    Non-zero pad bits, missing padding, line breaks and the URL alphabet are refused, so that no two
    texts stand for the same signature.

    Raises:
        FieldError: not a string or not canonical.
    """
    encoded = text(value, at=at)
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FieldError(f"{at} is not base64") from error
    if base64.b64encode(decoded).decode() != encoded:
        raise FieldError(f"{at} is not canonical base64")
    return decoded


def dump(value: object) -> bytes:
    """Serialise as Go's ``encoding/json`` does: compact, in the given order, ``<>&`` escaped.

    Payloads must be the bytes that cosign and containers/image would have written.
    """
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        compact = compact.replace(character, f"\\u{ord(character):04x}")
    return compact.encode("utf-8")
