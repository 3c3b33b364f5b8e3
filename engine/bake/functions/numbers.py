"""Arithmetic and comparison."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Final

from engine.bake import operators
from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import value as make
from engine.bake.values.types import ANY, BOOL, NUMBER, STRING
from engine.bake.values.value import DECIMALS, Value, equal

if TYPE_CHECKING:
    from collections.abc import Callable

_NUM: Final = Parameter("num", NUMBER)
_A, _B = Parameter("a", NUMBER), Parameter("b", NUMBER)
_LEFT, _RIGHT = Parameter("a", ANY, nullable=True), Parameter("b", ANY, nullable=True)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _unary(name: str, compute: Callable[[Decimal], Decimal]) -> Function:
    return Function(name, (_NUM,), lambda value: make.number(compute(value.data)))


def _binary(name: str, compute: Callable[[Decimal, Decimal], Decimal]) -> Function:
    return Function(name, (_A, _B), lambda a, b: make.number(compute(a.data, b.data)))


def _compared(name: str, compute: Callable[[Decimal, Decimal], bool]) -> Function:
    return Function(name, (_A, _B), lambda a, b: make.boolean(compute(a.data, b.data)))


def _logic(name: str, compute: Callable[[bool, bool], bool]) -> Function:
    parameters = (Parameter("a", BOOL), Parameter("b", BOOL))
    return Function(name, parameters, lambda a, b: make.boolean(compute(a.data, b.data)))


def _divide(a: Decimal, b: Decimal) -> Decimal:
    try:
        return operators.divide(a, b)
    except ZeroDivisionError as error:
        raise FunctionError("division by zero", 1) from error


def _modulo(a: Decimal, b: Decimal) -> Decimal:
    try:
        return operators.modulo(a, b)
    except ZeroDivisionError as error:
        raise FunctionError("division by zero", 1) from error


def _rounded(mode: str) -> Callable[[Decimal], Decimal]:
    return lambda number: number.to_integral_value(mode)


def _extreme(name: str, choose: Callable[..., Decimal]) -> Function:
    def implementation(*numbers: Value) -> Value:
        if not numbers:
            raise FunctionError("at least one number is required")
        return make.number(choose(number.data for number in numbers))

    return Function(name, (), implementation, variadic=Parameter("numbers", NUMBER))


def _float(compute: Callable[[float, float], float], a: Value, b: Value) -> Value:
    """In double precision, as Go's math package has it."""
    try:
        result = compute(float(a.data), float(b.data))
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise FunctionError("the result is no number") from error
    if not math.isfinite(result):
        raise FunctionError("the result is no number")
    return make.number(Decimal(repr(result)))


def _logarithm(number: float, base: float) -> float:
    return math.log(number) / math.log(base)


def _parse_int(text: Value, base: Value) -> Value:
    radix = base.data
    if radix != int(radix) or not 2 <= radix <= 62:
        raise FunctionError("base must be a whole number from 2 to 62", 1)
    digits = text.data
    sign = -1 if digits.startswith("-") else 1
    digits = digits[1:] if digits[:1] in ("-", "+") else digits
    if radix <= 36:
        digits = digits.lower()
    result = 0
    for digit in digits or "?":
        place = _DIGITS.find(digit)
        if not 0 <= place < radix or len(digits) > 4096:
            raise FunctionError(f"{text.data!r} is no whole number of base {radix}", 0)
        result = result * int(radix) + place
    return make.number(sign * result)


FUNCTIONS: Final = (
    _unary("absolute", Decimal.copy_abs),
    _binary("add", DECIMALS.add),
    _logic("and", lambda a, b: a and b),
    _unary("ceil", _rounded(ROUND_CEILING)),
    _binary("divide", _divide),
    Function("equal", (_LEFT, _RIGHT), lambda a, b: make.boolean(equal(a, b))),
    _unary("floor", _rounded(ROUND_FLOOR)),
    _compared("greaterthan", lambda a, b: a > b),
    _compared("greaterthanorequalto", lambda a, b: a >= b),
    _unary("int", _rounded(ROUND_DOWN)),
    _compared("lessthan", lambda a, b: a < b),
    _compared("lessthanorequalto", lambda a, b: a <= b),
    Function("log", (_NUM, Parameter("base", NUMBER)), lambda a, b: _float(_logarithm, a, b)),
    _extreme("max", max),
    _extreme("min", min),
    _binary("modulo", _modulo),
    _binary("multiply", DECIMALS.multiply),
    _unary("negate", Decimal.copy_negate),
    Function("not", (Parameter("val", BOOL),), lambda value: make.boolean(not value.data)),
    Function("notequal", (_LEFT, _RIGHT), lambda a, b: make.boolean(not equal(a, b))),
    _logic("or", lambda a, b: a or b),
    Function("parseint", (Parameter("number", STRING), Parameter("base", NUMBER)), _parse_int),
    Function("pow", (_NUM, Parameter("power", NUMBER)), lambda a, b: _float(math.pow, a, b)),
    _unary("signum", lambda number: Decimal((number > 0) - (number < 0))),
    _binary("subtract", DECIMALS.subtract),
)
