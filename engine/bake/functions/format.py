"""``format`` and ``formatlist``: Go's verbs for HCL's values."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.functions.strings import characters
from engine.bake.values import json
from engine.bake.values import value as make
from engine.bake.values.convert import convert
from engine.bake.values.types import BOOL, NUMBER, STRING
from engine.bake.values.value import DECIMALS, MAGNITUDE, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WIDTH: Final = 1024
"""Largest width and precision."""

_VERB = re.compile(r"%(?:(%)|([+\-# 0]*)([1-9][0-9]*)?(?:\.([0-9]*))?(?:\[([0-9]+)\])?([A-Za-z]?))")
_EXACT: Final = Context(prec=2 * MAGNITUDE + WIDTH, rounding=ROUND_HALF_EVEN)
_INTEGERS: Final = {"b": "b", "d": "d", "o": "o", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


class _Verb:
    """One verb: its flags, width and precision."""

    def __init__(self, match: re.Match[str]) -> None:
        _, flags, width, precision, self.index, self.mode = match.groups()
        self.flags: str = flags
        self.width = int(width or 0)
        self.precision = None if precision is None else int(precision or 0)
        if max(self.width, self.precision or 0) > WIDTH:
            raise FunctionError(f"{match.group()}: at most {WIDTH} characters are possible", 0)

    def padded(self, text: str, *, number: bool = False) -> str:
        missing = self.width - len(characters(text))
        if missing <= 0:
            return text
        if "-" in self.flags:
            return text + ("0" if "0" in self.flags and not number else " ") * missing
        if "0" not in self.flags:
            return " " * missing + text
        sign = text[:1] if number and text[:1] in "+- " else ""
        return sign + "0" * missing + text[len(sign) :]

    def signed(self, text: str) -> str:
        if text.startswith("-"):
            return text
        return next((sign for sign in "+ " if sign in self.flags), "") + text


def format_text(template: str, arguments: tuple[Value, ...]) -> str:
    """The template with its verbs replaced.

    Raises:
        FunctionError: an unknown verb, or arguments that do not fit, are missing or too many.
    """
    made, last, used, highest = [], 0, 0, 0
    for match in _VERB.finditer(template):
        made.append(template[last : match.start()])
        last = match.end()
        if match.group(1):
            made.append("%")
            continue
        verb = _Verb(match)
        used = int(verb.index) if verb.index else used + 1
        highest = max(highest, used)
        if verb.mode not in _MODES:
            raise FunctionError(f"{match.group()} is no verb", 0)
        if not 1 <= used <= len(arguments):
            raise FunctionError(f"{match.group()} has no argument to show", 0)
        made.append(_shown(verb, arguments[used - 1], used))
    if highest < len(arguments):
        raise FunctionError(
            f"the format shows {highest} arguments of {len(arguments)}", highest + 1
        )
    made.append(template[last:])
    return "".join(made)


def _shown(verb: _Verb, value: Value, argument: int) -> str:
    if value.null and verb.mode != "v":
        raise FunctionError("null cannot be shown", argument)
    return _MODES[verb.mode](verb, value)


def _as_is(verb: _Verb, value: Value) -> str:
    if "#" in verb.flags or value.null or value.type not in (STRING, NUMBER):
        return verb.padded(json.encode(value))
    text = value.data if value.type == STRING else _general(value.data, None)
    return verb.padded(text)


def _truth(verb: _Verb, value: Value) -> str:
    return "true" if convert(value, BOOL).data else "false"


def _string(verb: _Verb, value: Value) -> str:
    text = convert(value, STRING).data
    if verb.precision:
        text = "".join(characters(text)[: verb.precision])
    return verb.padded(json.quote(text) if verb.mode == "q" else text)


def _integer(verb: _Verb, value: Value) -> str:
    number: Decimal = convert(value, NUMBER).data
    if number != int(number):
        raise FunctionError("a whole number is required")
    text = format(abs(int(number)), _INTEGERS[verb.mode])
    if verb.precision is not None:
        text = text.rjust(verb.precision, "0")
    if "#" in verb.flags:
        text = _PREFIXES.get(verb.mode, "") + text
    return verb.padded(verb.signed("-" + text if number < 0 else text), number=True)


def _float(verb: _Verb, value: Value) -> str:
    number: Decimal = convert(value, NUMBER).data
    if verb.mode in "fF":
        places = 6 if verb.precision is None else verb.precision
        text = format(_EXACT.quantize(number, Decimal(1).scaleb(-places)), "f")
    elif verb.mode in "eE":
        text = _scientific(number, 6 if verb.precision is None else verb.precision)
    else:
        text = _general(number, verb.precision)
    text = text.upper() if verb.mode.isupper() else text
    return verb.padded(verb.signed(text), number=True)


def _scientific(number: Decimal, places: int) -> str:
    rounded = Context(prec=places + 1, rounding=ROUND_HALF_EVEN).plus(number)
    digits = "".join(map(str, rounded.as_tuple().digits)).ljust(places + 1, "0")
    fraction = f".{digits[1 : places + 1]}" if places else ""
    exponent = rounded.adjusted() if rounded else 0
    sign = "-" if exponent < 0 else "+"
    return f"{'-' if number < 0 else ''}{digits[0]}{fraction}e{sign}{abs(exponent):02}"


def _general(number: Decimal, precision: int | None) -> str:
    """Go's %g: with an exponent when it is below -4, or not below the precision, 6 by default."""
    if not number:
        return "0"
    if precision is not None:
        number = Context(prec=max(precision, 1), rounding=ROUND_HALF_EVEN).plus(number)
    number = DECIMALS.normalize(number)
    exponent = number.adjusted()
    digits = len(number.as_tuple().digits)
    limit = 6 if precision is None else max(precision, 1)
    if precision is not None and limit > digits > exponent:
        limit = digits
    if exponent < -4 or exponent >= limit:
        return _scientific(number, digits - 1)
    return format(number, "f")


_MODES: Final[Mapping[str, Callable[[_Verb, Value], str]]] = {
    "v": _as_is,
    "t": _truth,
    "s": _string,
    "q": _string,
    **dict.fromkeys("bdoxX", _integer),
    **dict.fromkeys("eEfgG", _float),
}


def _format(template: Value, *arguments: Value) -> Value:
    return make.string(format_text(template.data, arguments))


def _format_list(template: Value, *arguments: Value) -> Value:
    """One text for each element of the lists among the arguments; the others are repeated."""
    lists = {
        index: value.data
        for index, value in enumerate(arguments)
        if value.type.sequence and not value.null
    }
    lengths = {len(items) for items in lists.values()}
    if len(lengths) > 1:
        raise FunctionError("the lists are not of one length")
    made = []
    for row in range(lengths.pop() if lengths else 1):
        columns = enumerate(arguments)
        values = tuple(lists[index][row] if index in lists else value for index, value in columns)
        made.append(make.string(format_text(template.data, values)))
    return make.list_of(made, STRING)


_ARGUMENTS: Final = Parameter("args", nullable=True)
FUNCTIONS: Final = (
    Function("format", (Parameter("format", STRING),), _format, variadic=_ARGUMENTS),
    Function("formatlist", (Parameter("format", STRING),), _format_list, variadic=_ARGUMENTS),
)
