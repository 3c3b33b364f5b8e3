"""Canonical JSON as docker's Go library writes it: the bytes that Notary signatures are over.

Members in byte order, no blanks, integers only; of a string's characters only ``"`` and ``\\`` are
escaped, so control characters stand as they are (which makes it no JSON, but one spelling).
Verifiers parse what they got and write it again, hence ``parse`` refuses whatever two parsers
could read differently: doubled members, fractions, integers beyond 2**53.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final, NoReturn

from trust.tuf.errors import MalformedMetadataError, OversizeError

INTEGER_LIMIT: Final = 1 << 53
"""From here on, parsers that use doubles see another number (RFC 8259, section 6)."""


def parse(raw: bytes, *, what: str, limit: int) -> dict[str, Any]:
    """Parse one JSON object of at most ``limit`` bytes; ``what`` names it in errors.

    Raises:
        OversizeError: it is longer.
        MalformedMetadataError: not one object of strict JSON with whole, safe numbers.
    """
    if len(raw) > limit:
        raise OversizeError(f"{what} has {len(raw)} bytes, the limit is {limit}")
    try:
        document = _load(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedMetadataError(f"{what} is not strict JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedMetadataError(f"{what} is not a JSON object")
    return document


def dump(value: object) -> bytes:
    """The canonical bytes of what ``parse`` returned, or of its like without fractions.

    Raises:
        MalformedMetadataError: half a surrogate pair, or nested beyond reason.
    """
    try:
        text = _fast(value)
        # The C encoder differs only where it escapes, and then there is a backslash to be seen.
        return (_write(value) if "\\" in text else text).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise MalformedMetadataError(f"it has no canonical form: {error}") from error


def _write(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in sorted(value)) + "}"
    return _fast(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member appears twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) >= INTEGER_LIMIT or text == "-0":
        raise ValueError(f"the number {text[:20]} is not safe")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not a whole number")


_fast: Final = partial(
    json.dumps, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_load: Final = partial(
    json.loads,
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_no_number,
    parse_constant=_no_number,
)
