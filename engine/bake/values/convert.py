"""One type into another, and the one type that several can become."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from engine.bake.values import value as make
from engine.bake.values.types import (
    ANY,
    NUMBER,
    STRING,
    Type,
    list_type,
    map_type,
    object_type,
    set_type,
    tuple_type,
)
from engine.bake.values.value import Value

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


class ConversionError(Exception):
    """A value cannot be what it should be; the text says why, without a place."""


def convert(value: Value, wanted: Type) -> Value:
    """The value as ``wanted``; null stays null.

    Raises:
        ConversionError: it cannot be that.
    """
    if value.type == wanted or wanted == ANY:
        return value
    if value.null:
        return make.null(wanted)
    if wanted.primitive:
        return _primitive(value, wanted)
    if wanted.name in ("list", "set") and value.type.sequence:
        return _collection(value, wanted)
    if wanted.name == "map" and value.type.mapping:
        return _map(value, wanted)
    if wanted.name == "object" and value.type.mapping:
        return _object(value, wanted)
    if wanted.name == "tuple" and value.type.name == "tuple":
        return _tuple(value, wanted)
    raise ConversionError(_mismatch(value.type, wanted))


def text_of(number: Decimal) -> str:
    """A number in full, without an exponent and without zeros at its end."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def number_of(text: str) -> Decimal | None:
    """The number a text says, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        made = make.number(text).data
    except ArithmeticError:
        return None
    assert isinstance(made, Decimal)
    return made


def _mismatch(given: Type, wanted: Type) -> str:
    return f"{wanted.friendly()} required, but this is {given.friendly()}"


def _primitive(value: Value, wanted: Type) -> Value:
    data = value.data
    if wanted == STRING and value.type.primitive:
        if isinstance(data, bool):
            return make.string("true" if data else "false")
        return make.string(text_of(data))
    if isinstance(data, str) and wanted == NUMBER:
        number = number_of(data)
        if number is not None:
            return Value(NUMBER, number)
        raise ConversionError("a number is required")
    if isinstance(data, str) and wanted.name == "bool":
        if data in _TRUTHS:
            return make.boolean(_TRUTHS[data])
        hint = f'; write "{data.lower()}"' if data.lower() in ("true", "false") else ""
        raise ConversionError(f"a bool is required{hint}")
    raise ConversionError(_mismatch(value.type, wanted))


def _collection(value: Value, wanted: Type) -> Value:
    element = wanted.element or ANY
    items = value.data
    if element == ANY:
        element = unify([item.type for item in items]) or ANY
        if element == ANY and items and any(item.type != ANY for item in items):
            raise ConversionError(f"all elements of a {wanted.name} must be of one type")
    converted = [_inner(item, element, f"element {index}") for index, item in enumerate(items)]
    if wanted.name == "set":
        return make.set_of(converted, element)
    return make.list_of(converted, element)


def _map(value: Value, wanted: Type) -> Value:
    element = wanted.element or ANY
    items = value.data
    if element == ANY:
        element = unify([item.type for item in items.values()]) or ANY
        if element == ANY and any(item.type != ANY for item in items.values()):
            raise ConversionError("all elements of a map must be of one type")
    return make.map_of(
        {key: _inner(item, element, f"{key!r}") for key, item in items.items()}, element
    )


def _object(value: Value, wanted: Type) -> Value:
    items: dict[str, Value] = {}
    for name, type in wanted.attributes:
        if name in value.data:
            items[name] = _inner(value.data[name], type, f"{name!r}")
        elif name in wanted.optional:
            items[name] = make.null(type)
        else:
            raise ConversionError(f"attribute {name!r} is required")
    return make.object_of(items)


def _tuple(value: Value, wanted: Type) -> Value:
    count = len(wanted.elements)
    if len(value.data) != count:
        raise ConversionError(f"{count} elements are required, but these are {len(value.data)}")
    pairs = enumerate(zip(value.data, wanted.elements, strict=True))
    return make.tuple_of(_inner(item, type, f"element {index}") for index, (item, type) in pairs)


def _inner(value: Value, wanted: Type, where: str) -> Value:
    try:
        return convert(value, wanted)
    except ConversionError as error:
        raise ConversionError(f"{where}: {error}") from error


def unify(types: list[Type]) -> Type | None:
    """The type that all of these can become, ``ANY`` for no types, None where there is none."""
    kinds = [type for type in dict.fromkeys(types) if type != ANY]
    if not kinds:
        return ANY
    if len(kinds) == 1:
        return kinds[0]
    if all(type.primitive for type in kinds):
        return STRING if STRING in kinds else None
    names = {type.name for type in kinds}
    if names <= {"tuple", "list", "set"}:
        return _unify_sequences(kinds, names)
    if names <= {"object", "map"}:
        return _unify_mappings(kinds, names)
    return None


def _unify_sequences(kinds: list[Type], names: set[str]) -> Type | None:
    lengths = {len(type.elements) for type in kinds}
    if names == {"tuple"} and len(lengths) == 1:
        columns = [
            unify(list(column)) for column in zip(*(type.elements for type in kinds), strict=True)
        ]
        found = [column for column in columns if column is not None]
        return tuple_type(tuple(found)) if len(found) == len(columns) else None
    inner = [
        one
        for type in kinds
        for one in (type.elements if type.element is None else (type.element,))
    ]
    element = unify(inner)
    if element is None:
        return None
    return set_type(element) if "set" in names and "list" not in names else list_type(element)


def _unify_mappings(kinds: list[Type], names: set[str]) -> Type | None:
    keys = {tuple(name for name, _ in type.attributes) for type in kinds}
    if names == {"object"} and len(keys) == 1:
        (shared,) = keys
        columns = {name: unify([dict(type.attributes)[name] for type in kinds]) for name in shared}
        found = {name: column for name, column in columns.items() if column is not None}
        return object_type(found) if len(found) == len(columns) else None
    inner = [
        one
        for type in kinds
        for one in (
            [item for _, item in type.attributes] if type.element is None else [type.element]
        )
    ]
    element = unify(inner)
    return None if element is None else map_type(element)
