"""Values of expressions into attributes of targets, and attributes back into values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.bake.entries import Agent, entry_type, fields_of
from engine.bake.errors import BakeError, BakeValueError
from engine.bake.model import ENTRIES, LISTS, MAPS, RESOURCES, SWITCHES, TEXTS, Policy
from engine.bake.values import value as make
from engine.bake.values.convert import ConversionError, convert
from engine.bake.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    Type,
    list_type,
    map_type,
    object_type,
)
from engine.bake.values.value import Value

if TYPE_CHECKING:
    from engine.bake.source import Place


def decode(attribute: str, value: Value, place: Place) -> Any:
    """An attribute's data: str, bool, tuple, dict, or tuples of entries; None for null.

    Raises:
        BakeValueError: the value is of the wrong type; ``place`` is to blame.
    """
    if value.null:
        return None
    try:
        return _decode(attribute, value)
    except ConversionError as error:
        raise BakeValueError(f"{attribute}: {error}", place=place) from error
    except BakeError as error:
        raise BakeValueError(f"{attribute}: {error.what}", place=place, fix=error.fix) from error


def _decode(attribute: str, value: Value) -> Any:
    if attribute in TEXTS:
        return convert(value, STRING).data
    if attribute in SWITCHES:
        return convert(value, BOOL).data
    if attribute in LISTS:
        return _strings(convert(value, list_type(STRING)))
    if attribute in MAPS:
        converted = convert(value, map_type(STRING)).data
        if attribute == "contexts" and any(item.null for item in converted.values()):
            raise ConversionError("a context is null")
        return {key: item.data for key, item in converted.items()}
    if attribute == "resources":
        return _resources(value)
    return _entries(attribute, value)


def _strings(value: Value) -> tuple[str, ...]:
    if any(item.null for item in value.data):
        raise ConversionError("an element is null")
    return tuple(item.data for item in value.data)


def _resources(value: Value) -> dict[str, str | int]:
    numbers = ("cpu-shares", "cpu-period", "cpu-quota")
    kinds = {name: NUMBER if name in numbers else STRING for name in RESOURCES}
    wanted = object_type(kinds, frozenset(RESOURCES))
    if value.type.mapping:
        unknown = set(value.data) - set(RESOURCES)
        if unknown:
            raise ConversionError(f"{min(unknown)!r} is no resource; use {', '.join(RESOURCES)}")
    held = convert(value, wanted).data
    return {
        name: int(item.data) if name in numbers else item.data
        for name, item in held.items()
        if not item.null
    }


def _entries(attribute: str, value: Value) -> tuple[Any, ...]:
    if not value.type.sequence:
        raise ConversionError(f"a list is required, but this is {value.type.friendly()}")
    return tuple(
        entry for item in value.data if not _empty(item) for entry in _entry(attribute, item)
    )


def _empty(item: Value) -> bool:
    return item.null or item.data in ("", {})


def _entry(attribute: str, item: Value) -> list[Any]:
    if item.type == STRING:
        return parse_entry(attribute, item.data)
    if attribute == "ssh":
        wanted = object_type({"id": STRING, "paths": list_type(STRING)}, frozenset(("id", "paths")))
        held = convert(item, wanted).data
        paths = () if held["paths"].null else _strings(held["paths"])
        return [Agent(held["id"].data or "", paths)]
    options = convert(item, map_type(STRING)).data
    said = {key: one.data for key, one in options.items() if not one.null}
    if attribute == "policy":
        return [Policy(tuple(said.items()))]
    kind = entry_type(attribute)
    assert kind is not None
    return [kind.of(said)]


def parse_entry(attribute: str, text: str) -> list[Any]:
    """The entries that one text of an attribute says; raises BakeValueError."""
    if attribute == "policy":
        pairs = [item.partition("=") for item in fields_of(text)]
        return [Policy(tuple((key.strip().lower(), value) for key, _, value in pairs))]
    kind = entry_type(attribute)
    assert kind is not None
    parsed = kind.parse(text)
    assert isinstance(parsed, list)
    return parsed


def encode(attribute: str, data: Any) -> Value:
    """What ``target.name.attribute`` is to an expression."""
    if data is None:
        return make.null(_type(attribute))
    if isinstance(data, bool):
        return make.boolean(data)
    if isinstance(data, str):
        return make.string(data)
    if attribute == "resources":
        return make.object_of({key: _scalar(item) for key, item in data.items()})
    if isinstance(data, Mapping):
        items = {
            key: make.null(STRING) if one is None else make.string(one) for key, one in data.items()
        }
        return make.map_of(items, STRING)
    if attribute in ENTRIES:
        made = [_plain(item.json()) for item in data]
        return make.list_of(made, made[0].type if made else map_type(STRING))
    return make.list_of([make.string(item) for item in data], STRING)


def _scalar(data: str | int) -> Value:
    return make.string(data) if isinstance(data, str) else make.number(data)


def _plain(item: dict[str, Any]) -> Value:
    def text(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    if "paths" in item:
        paths = make.list_of([make.string(path) for path in item["paths"]], STRING)
        return make.object_of({"id": make.string(item.get("id", "")), "paths": paths})
    return make.map_of({key: make.string(text(value)) for key, value in item.items()}, STRING)


def _type(attribute: str) -> Type:
    if attribute in TEXTS:
        return STRING
    if attribute in SWITCHES:
        return BOOL
    if attribute in LISTS:
        return list_type(STRING)
    return map_type(STRING) if attribute in MAPS else ANY
