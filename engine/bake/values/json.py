"""Values and JSON: what ``jsonencode`` writes, what ``jsondecode`` and typed variables read."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from engine.bake.values import value as make
from engine.bake.values.convert import text_of
from engine.bake.values.value import Value


def encode(value: Value) -> str:
    """JSON as Go writes it: sorted names, no blanks, angle brackets and ampersands escaped."""
    data = value.data
    if data is None:
        return "null"
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, Decimal):
        return text_of(data)
    if isinstance(data, str):
        return quote(data)
    if isinstance(data, dict):
        return "{" + ",".join(f"{quote(key)}:{encode(item)}" for key, item in data.items()) + "}"
    return "[" + ",".join(encode(item) for item in data) + "]"


def quote(text: str) -> str:
    """One string as Go's encoding/json writes it."""
    escaped = json.dumps(text, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        escaped = escaped.replace(char, f"\\u{ord(char):04x}")
    return escaped


def decode(text: str) -> Value:
    """A JSON text as a value: arrays are tuples, objects are objects.

    Raises:
        ValueError: it is not JSON.
        ArithmeticError: a number is out of range.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    loaded = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=refuse)
    return _value(loaded)


def _value(item: Any) -> Value:
    if item is None:
        return make.NULL
    if isinstance(item, bool):
        return make.boolean(item)
    if isinstance(item, Decimal):
        return make.number(item)
    if isinstance(item, str):
        return make.string(item)
    if isinstance(item, list):
        return make.tuple_of(_value(one) for one in item)
    return make.object_of({key: _value(one) for key, one in item.items()})
