"""Operators and indexes on values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from engine.bake.errors import BakeValueError
from engine.bake.values import value as make
from engine.bake.values.convert import ConversionError, convert
from engine.bake.values.types import BOOL, NUMBER, STRING, Type
from engine.bake.values.value import DECIMALS, Value, equal

if TYPE_CHECKING:
    from engine.bake.source import Place


def divide(left: Decimal, right: Decimal) -> Decimal:
    """The quotient; raises ZeroDivisionError."""
    if not right:
        raise ZeroDivisionError
    return DECIMALS.divide(left, right)


def modulo(left: Decimal, right: Decimal) -> Decimal:
    """What is left after dividing towards zero; raises ZeroDivisionError."""
    if not right:
        raise ZeroDivisionError
    return DECIMALS.remainder(left, right)


_ARITHMETIC: Final[Mapping[str, Callable[[Decimal, Decimal], Decimal]]] = {
    "+": DECIMALS.add,
    "-": DECIMALS.subtract,
    "*": DECIMALS.multiply,
    "/": divide,
    "%": modulo,
}
_COMPARISONS: Final[Mapping[str, Callable[[Decimal, Decimal], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def apply_unary(operator: str, operand: Value, place: Place) -> Value:
    """``-`` or ``!``; raises BakeValueError."""
    if operator == "!":
        return make.boolean(not _operand(operand, BOOL, place))
    return Value(NUMBER, _operand(operand, NUMBER, place).copy_negate())


def apply_binary(
    operator: str, left: Value, right: Value, place: Place, operands: tuple[Place, Place]
) -> Value:
    """Every binary operator but the two that may leave out their right side.

    Raises:
        BakeValueError: an operand is of the wrong type, or the result is out of range.
    """
    if operator in ("==", "!="):
        return make.boolean(equal(left, right) == (operator == "=="))
    first = _operand(left, NUMBER, operands[0])
    second = _operand(right, NUMBER, operands[1])
    if operator in _COMPARISONS:
        return make.boolean(_COMPARISONS[operator](first, second))
    try:
        return make.number(_ARITHMETIC[operator](first, second))
    except ZeroDivisionError as error:
        raise BakeValueError("division by zero", place=operands[1]) from error
    except ArithmeticError as error:
        raise BakeValueError("the result is out of range", place=place) from error


def _operand(value: Value, wanted: Type, place: Place) -> Any:
    if value.null:
        raise BakeValueError(f"this is null where a {wanted.friendly()} is required", place=place)
    try:
        return convert(value, wanted).data
    except ConversionError as error:
        raise BakeValueError(str(error), place=place) from error


def index_of(collection: Value, key: Value, place: Place) -> Value:
    """``collection[key]``; raises BakeValueError."""
    if collection.null or key.null:
        what = "null has no elements" if collection.null else "null is no index"
        raise BakeValueError(what, place=place)
    if collection.type.mapping:
        name = _operand(key, STRING, place)
        if name not in collection.data:
            raise BakeValueError(f"there is no element {name!r}", place=place)
        found = collection.data[name]
    elif collection.type.name in ("list", "tuple"):
        number = _operand(key, NUMBER, place)
        count = len(collection.data)
        if number != int(number) or not 0 <= number < count:
            raise BakeValueError(
                f"{key.data} is no index of {count} elements",
                place=place,
                fix="indexes are whole numbers and begin at 0",
            )
        found = collection.data[int(number)]
    else:
        raise BakeValueError(f"{collection.type.friendly()} has no indexes", place=place)
    assert isinstance(found, Value)
    return found
