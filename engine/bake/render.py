"""What ``--print`` and ``--list`` show, byte for byte as buildx has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.bake.model import Config
    from engine.bake.resolve import Selection


def document(data: Any) -> str:
    """Indented JSON as Go's encoder writes it: angle brackets and ampersands are escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def selection_json(selection: Selection) -> str:
    """The answer of ``--print``."""
    return document(selection.json())


def list_targets(config: Config, *, as_json: bool) -> str:
    """Targets and groups by name; names that begin with an underscore are private."""
    rows: list[dict[str, Any]] = []
    for target in config.targets:
        said = {"description": target.description} if target.description else {}
        rows.append({"name": target.name, **said})
    for group in config.groups:
        members = ", ".join(sorted(group.targets))
        text = group.description or members
        if group.description and members:
            text = f"{group.description} ({members})"
        rows.append({"name": group.name, **({"description": text} if text else {}), "group": True})
    rows = sorted(
        (row for row in rows if not row["name"].startswith("_")), key=lambda row: str(row["name"])
    )
    if as_json:
        return document(rows)
    return _table(
        ("TARGET", "DESCRIPTION"), [(row["name"], row.get("description", "")) for row in rows]
    )


def list_variables(config: Config, *, as_json: bool) -> str:
    """Variables with their types and values."""
    variables = sorted(config.variables, key=lambda one: one.name)
    if as_json:
        rows = []
        for one in variables:
            row: dict[str, Any] = {"name": one.name}
            row |= {"description": one.description} if one.description else {}
            row |= {"type": one.type} if one.type else {}
            row |= {"value": one.value} if one.value is not None else {}
            rows.append(row)
        return document(rows)
    return _table(
        ("VARIABLE", "TYPE", "VALUE", "DESCRIPTION"),
        [
            (one.name, one.type, "<null>" if one.value is None else one.value, one.description)
            for one in variables
        ],
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns by tabs of eight, as Go's tabwriter has them."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) // 8 + 1 for column in range(len(header))]
    made = []
    for line in lines:
        cells = [
            text + "\t" * (widths[column] - len(text) // 8) for column, text in enumerate(line[:-1])
        ]
        made.append("".join(cells) + line[-1])
    return "\n".join(made) + "\n"
