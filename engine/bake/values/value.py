"""A value: a type, and Python's data for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from functools import total_ordering
from typing import Any, Final

from engine.bake.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    Type,
    list_type,
    map_type,
    object_type,
    set_type,
    tuple_type,
)
from records import Record, field

PRECISION: Final = 154
"""Decimal digits of numbers: what 512 bits hold, as many as HCL promises."""
MAGNITUDE: Final = 4096
"""The largest exponent of ten a number may have: it is written out in full."""
DECIMALS: Final = Context(prec=PRECISION, Emax=MAGNITUDE, Emin=-MAGNITUDE)


class Value(Record):
    """``data`` is None for null, else by the type's name:

    string: str; number: Decimal; bool: bool; list, tuple, set: a tuple of values (of a set, sorted
    and each once); map, object: a dict by name, sorted.
    """

    type: Type
    data: Any
    weight: int = field(default=1, repr=False, compare=False)
    """How much there is to walk through: characters, and elements with what is within them, as
    often as they occur. Shared parts make a small definition a large value."""

    @property
    def null(self) -> bool:
        """Whether it is nothing."""
        return self.data is None

    def __bool__(self) -> bool:
        """Not for programs to ask: false and null are values too."""
        raise TypeError("a value is neither true nor false; ask for its data")


TRUE: Final = Value(BOOL, True)  # noqa: FBT003
FALSE: Final = Value(BOOL, False)  # noqa: FBT003
NULL: Final = Value(ANY, None)


def string(text: str) -> Value:
    """A string."""
    return Value(STRING, text, 1 + len(text))


def number(of: Decimal | int | str) -> Value:
    """A number, rounded to ``PRECISION`` digits.

    Raises:
        ArithmeticError: it is larger or smaller than ``MAGNITUDE`` allows, or no number.
    """
    made = DECIMALS.create_decimal(of)
    if not made.is_finite():
        raise ArithmeticError(f"{of} is out of range")
    return Value(NUMBER, made)


def boolean(of: bool) -> Value:  # noqa: FBT001
    """True or false."""
    return TRUE if of else FALSE


def null(type: Type) -> Value:
    """Nothing, of a type."""
    return Value(type, None)


def tuple_of(items: Iterable[Value]) -> Value:
    """A tuple; every item has a type of its own."""
    data = tuple(items)
    return Value(tuple_type(tuple(item.type for item in data)), data, _weight(data))


def object_of(items: Mapping[str, Value]) -> Value:
    """An object; every attribute has a type of its own."""
    data = dict(sorted(items.items()))
    kinds = {key: item.type for key, item in data.items()}
    return Value(object_type(kinds), data, _weight(data.values()))


def list_of(items: Iterable[Value], element: Type) -> Value:
    """A list of values that are all of the type ``element``."""
    data = tuple(items)
    return Value(list_type(element), data, _weight(data))


def map_of(items: Mapping[str, Value], element: Type) -> Value:
    """A map of values that are all of the type ``element``."""
    data = dict(sorted(items.items()))
    return Value(map_type(element), data, _weight(data.values()))


def set_of(items: Iterable[Value], element: Type) -> Value:
    """A set of values that are all of the type ``element``; equal ones become one."""
    kept: list[Value] = []
    for item in sorted(items, key=SortKey):
        if not kept or SortKey(kept[-1]) != SortKey(item):
            kept.append(item)
    return Value(set_type(element), tuple(kept), _weight(kept))


def _weight(items: Iterable[Value]) -> int:
    return 1 + sum([item.weight for item in items])


@total_ordering
class SortKey:
    """A key to sort values of one type by: strings by code points, numbers by size, null last."""

    def __init__(self, value: Value) -> None:
        self._key = _key(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SortKey) and self._key == other._key

    def __lt__(self, other: SortKey) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _key(value: Value) -> tuple[Any, ...]:
    if value.null:
        return (1,)
    data = value.data
    if isinstance(data, tuple):
        return (0, tuple(_key(item) for item in data))
    if isinstance(data, dict):
        return (0, tuple((key, _key(item)) for key, item in data.items()))
    return (0, value.type.name, data)


def equal(left: Value, right: Value) -> bool:
    """HCL's ``==``: values of different types differ, and null equals null."""
    if left.null or right.null:
        return left.null and right.null
    if left.type.name != right.type.name:
        return False
    return _key(left) == _key(right) and left.type == right.type


def elements(value: Value) -> list[tuple[Value, Value]]:
    """The keys and values of a collection, in the order that ``for`` sees them."""
    if isinstance(value.data, dict):
        return [(string(key), item) for key, item in value.data.items()]
    if value.type.name == "set":
        return [(item, item) for item in value.data]
    return [(number(index), item) for index, item in enumerate(value.data)]
