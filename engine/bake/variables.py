"""Values for variables from outside: what ``--var`` and the environment say, by the type that is
wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from engine.bake.entries import fields_of, parse_bool
from engine.bake.errors import BakeError, BakeValueError
from engine.bake.values import json
from engine.bake.values import value as make
from engine.bake.values.convert import ConversionError, convert, number_of, text_of
from engine.bake.values.types import ANY, NUMBER, STRING, Type
from engine.bake.values.value import Value
from records import Record

if TYPE_CHECKING:
    from engine.bake.source import Place

_JSON_SUFFIX: Final = "_JSON"


class Surroundings(Record):
    """What a definition may ask about where it is read."""

    environment: Mapping[str, str]
    """Empty where variables must not come from the environment."""
    variables: Mapping[str, str]
    """From ``--var``; they come before the environment."""
    builtin: Mapping[str, str]
    """Names that a definition cannot define."""
    clock: Callable[[], float]
    home: str

    def lookup(self, name: str) -> str | None:
        """What is said from outside, if anything is."""
        return self.variables.get(name, self.environment.get(name))

    def override(self, name: str, *, typed: bool, taken: bool) -> tuple[str, bool] | None:
        """What is said about a variable, and whether that is JSON.

        ``NAME_JSON`` is asked when ``NAME`` is silent, and first for a variable with a type.
        ``taken`` says that ``NAME_JSON`` is a variable itself.
        """
        plain = self.lookup(name)
        if (plain is None or typed) and not taken:
            said = self.lookup(name + _JSON_SUFFIX)
            if said is not None:
                return said, True
        return None if plain is None else (plain, False)


def overridden(name: str, text: str, wanted: Type, place: Place, *, as_json: bool) -> Value:
    """A text from outside as a type.

    Raises:
        BakeValueError: it is not of that type; the place is the variable's.
    """
    try:
        if as_json and wanted != STRING:
            return convert(json.decode(text), wanted)
        if as_json:
            return convert(json.decode(text), STRING)
        return _read(text, wanted)
    except (ConversionError, ArithmeticError, ValueError) as error:
        raise _wrong(name, wanted, str(error), place) from error
    except BakeError as error:
        raise _wrong(name, wanted, error.what, place) from error


def _wrong(name: str, wanted: Type, why: str, place: Place) -> BakeValueError:
    return BakeValueError(
        f"the value given for the variable {name} is no {wanted.friendly()}: {why}",
        place=place,
        fix=f"correct {name} in the environment or after --var",
    )


def _read(text: str, wanted: Type) -> Value:
    """A single value, or comma-separated ones: ``a,b`` for lists, ``k:v,l:w`` for maps."""
    if wanted.primitive or wanted == ANY:
        return _single(text, wanted)
    items = fields_of(text) if text else []
    element = wanted.element
    if wanted.name == "tuple":
        if len(items) != len(wanted.elements):
            raise ConversionError(f"{len(wanted.elements)} elements are required")
        pairs = zip(items, wanted.elements, strict=True)
        return make.tuple_of([_single(item, type) for item, type in pairs])
    if element is None or not element.primitive:
        raise ConversionError("only JSON can say this; use NAME_JSON")
    if wanted.name == "map":
        return make.map_of(dict(_pair(item, element) for item in items), element)
    made = [_single(item, element) for item in items]
    return make.set_of(made, element) if wanted.name == "set" else make.list_of(made, element)


def _pair(item: str, element: Type) -> tuple[str, Value]:
    key, colon, text = item.partition(":")
    if not colon:
        raise ConversionError(f"{item!r} is no key:value pair")
    return key, _single(text, element)


def _single(text: str, wanted: Type) -> Value:
    if wanted == NUMBER:
        number = number_of(text)
        if number is None:
            raise ConversionError(f"{text!r} is no number")
        return Value(NUMBER, Decimal(repr(float(number))) if number != int(number) else number)
    if wanted.name == "bool":
        return make.boolean(parse_bool(text, "bool"))
    return make.string(text)


def shown(value: Value, type: Type | None) -> str | None:
    """How ``--list variables`` writes a value: text bare, everything else as JSON."""
    if value.null:
        return None
    if value.type == STRING:
        return json.encode(value).strip('"') if type is not None else str(value.data)
    if value.type == NUMBER:
        return text_of(value.data)
    return json.encode(value)
