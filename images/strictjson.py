"""JSON as image documents need it: strict on the way in, canonical on the way out.

In: UTF-8 only, no duplicate keys, no NaN, bounded in bytes and depth, the top is an object. Two
parsers that pick different duplicates would see two different images under one digest
(CVE-2021-41190 is such a confusion). Out: sorted keys and no blanks, so that equal documents have
equal digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from images.errors import InvalidManifestError, SizeLimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

MANIFEST_LIMIT: Final = 4 << 20
"""Largest manifest, index or config in bytes; the limit registries agree on."""

DEPTH_LIMIT: Final = 32


def loads(raw: bytes, *, what: str, limit: int = MANIFEST_LIMIT) -> dict[str, Any]:
    """Parse one JSON object; ``what`` names it in errors ("manifest").

    Raises:
        SizeLimitError: longer than ``limit`` bytes.
        InvalidManifestError: not strict JSON, too deep, or not an object.
    """
    if len(raw) > limit:
        raise SizeLimitError(f"{what} is {len(raw)} bytes long, more than the limit of {limit}")
    try:
        document = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise InvalidManifestError(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise InvalidManifestError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifestError(f"{what} must be a JSON object")
    if _deeper_than(document, DEPTH_LIMIT):
        raise InvalidManifestError(f"{what} is nested deeper than {DEPTH_LIMIT} levels")
    return document


def dumps(document: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a document."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def string_map(value: object, *, what: str) -> dict[str, str]:
    """Read an object of strings, such as annotations; null and absence are empty.

    Raises:
        InvalidManifestError: another type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise InvalidManifestError(f"{what} must map strings to strings")
    return value


def string(value: object, *, what: str) -> str:
    """Read a string; null and absence are empty.

    Raises:
        InvalidManifestError: another type.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidManifestError(f"{what} must be a string")
    return value


def sequence(value: object, *, what: str) -> list[Any]:
    """Read an array; null and absence are empty.

    Raises:
        InvalidManifestError: another type.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidManifestError(f"{what} must be an array")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"duplicate key {key[:80]!r}")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _deeper_than(document: object, limit: int) -> bool:
    level: list[Any] = [document]
    for _ in range(limit):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return False
        level = below
    return True
