"""The settings as a JSON Schema (draft 2020-12), for editors and other programs' checks."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Final

from records import Record, defaults_of
from registry.configuration.build import Wanted, fields_of
from registry.configuration.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    Unit,
    format_duration,
    format_size,
)

_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}


def json_schema(kind: type[Any], *, title: str) -> dict[str, Any]:
    """The schema of a file that configures ``kind``; nothing in it is required."""
    definitions: dict[str, Any] = {}
    root = _section(kind, definitions)
    root.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def plain(value: Any, wanted: Wanted | None = None) -> Any:
    """A setting's value as a file has it: units written out, enums by value."""
    if isinstance(value, Record):
        wants = fields_of(type(value))
        return {name: plain(getattr(value, name), want) for name, want in wants.items()}
    if isinstance(value, tuple):
        item = None if wanted is None else wanted.item
        return [plain(inner, item) for inner in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if value is not None and wanted is not None and wanted.unit is not None:
        return format_duration(value) if wanted.unit is Unit.DURATION else format_size(value)
    return value


def _section(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    required = []
    defaults = defaults_of(kind)
    for name, wanted in fields_of(kind).items():
        schema = _value(wanted, definitions)
        if wanted.help:
            schema["description"] = wanted.help
        if name not in defaults:
            required.append(name)
        elif not wanted.is_section:
            schema["default"] = plain(defaults[name], wanted)
        properties[name] = schema
    summary = (kind.__doc__ or "").strip().partition("\n")[0]
    schema = {"type": "object", "description": summary, "properties": properties}
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _value(wanted: Wanted, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any]
    if wanted.unit is not None:
        pattern = DURATION_PATTERN if wanted.unit is Unit.DURATION else SIZE_PATTERN
        number = "number" if wanted.unit is Unit.DURATION else "integer"
        schema = {"anyOf": [{"type": number, "minimum": 0}, {"type": "string", "pattern": pattern}]}
    elif wanted.is_section:
        name = wanted.kind.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _section(wanted.kind, definitions)
        schema = {"$ref": f"#/$defs/{name}"}
    elif wanted.item is not None:
        schema = {"type": "array", "items": _value(wanted.item, definitions)}
    elif issubclass(wanted.kind, enum.Enum):
        schema = {"enum": [member.value for member in wanted.kind]}
    else:
        schema = {"type": _TYPES[wanted.kind]}
    return {"anyOf": [schema, {"type": "null"}]} if wanted.optional else schema
