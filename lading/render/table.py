"""Listings: Docker's columns, ``--format`` and ``--quiet`` from one description."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lading.render.gotemplate import Template, field_names

_GAP, _MINIMUM = 3, 10


def tabulate(rows: Sequence[Sequence[str]]) -> str:
    """Align columns as Go's tabwriter does for Docker: ten wide at least, three blanks between."""
    if not rows:
        return ""
    widths = [
        max(_MINIMUM, max(len(row[column]) for row in rows) + _GAP)
        for column in range(len(rows[0]) - 1)
    ]
    lines = (
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1]
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def listing(
    items: Iterable[Mapping[str, Any]],
    *,
    headers: Mapping[str, str],
    columns: Sequence[str],
    template: str | None = None,
    quiet_field: str | None = None,
) -> str:
    """Render items as text.

    ``headers`` titles every field that ``--format table ...`` may show; ``columns`` are the default
    ones. ``template`` is a Go template, ``json``, ``table`` or ``table TEMPLATE``; ``quiet_field``
    wins over it.
    """
    if quiet_field is not None:
        return "".join(f"{item[quiet_field]}\n" for item in items)
    if template is None or template == "table":
        rows = [[headers[name] for name in columns]]
        rows.extend([str(item[name]) for name in columns] for item in items)
        return tabulate(rows)
    if template == "json":
        return "".join(json.dumps(dict(item), separators=(",", ":")) + "\n" for item in items)
    if template.startswith("table "):
        return _template_table(items, headers, template.removeprefix("table ").strip())
    compiled = Template.parse(template)
    return "".join(compiled.render(item) + "\n" for item in items)


def _template_table(
    items: Iterable[Mapping[str, Any]], headers: Mapping[str, str], text: str
) -> str:
    compiled = Template.parse(text)
    titles = {name: headers.get(name, name.upper()) for name in field_names(text)}
    rows = [compiled.render(titles).split("\t")]
    rows.extend(compiled.render(item).split("\t") for item in items)
    return tabulate(rows)
