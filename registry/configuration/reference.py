"""The settings as a page for people: one table a section, from the same records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from records import defaults_of
from registry.configuration.build import Wanted, fields_of
from registry.configuration.schema import plain
from registry.configuration.sources import PREFIX

_HEAD: Final = """\
# The registry's configuration

`lading registry serve --config FILE` reads one TOML or YAML file, by its suffix. A variable
replaces what the file says, a flag replaces both. The variable of a setting is its name in capitals
behind `{prefix}`, with `_` for each dot: `{prefix}TLS_CERT` is `tls.cert`; lists are
written with commas, lists of tables as JSON. Durations are written `90s`, `10m`, `1h30m`, `7d`;
sizes `64KiB`, `5GiB`. `none` unsets what has a default. Relative paths begin at the file's folder.

`lading registry config check FILE` names everything that is wrong with a file, with its line;
`config show` prints what would be served; `config schema` prints the JSON Schema, which is also
[registry.schema.json](registry.schema.json).

This page is made by `lading registry config reference`.
"""


def reference(kind: type[Any]) -> str:
    """The page in Markdown."""
    return "\n".join([_HEAD.format(prefix=PREFIX), *_section(kind, "", "## Top level")]) + "\n"


def _section(kind: type[Any], path: str, title: str) -> Iterator[str]:
    later: list[tuple[type[Any], str, str]] = []
    summary = (kind.__doc__ or "").strip().partition("\n\n")[0]
    yield f"{title}\n\n{' '.join(summary.split())}\n\n| setting | default | |\n|---|---|---|"
    defaults = defaults_of(kind)
    for short, wanted in fields_of(kind).items():
        name = f"{path}.{short}" if path else short
        if wanted.is_section:
            later.append((wanted.kind, name, f"## `{name}`"))
            continue
        if wanted.item is not None and wanted.item.is_section:
            later.append((wanted.item.kind, "", f"## Each of `{name}`"))
        default = _default(defaults[short], wanted) if short in defaults else "required"
        yield f"| `{short}` | {default} | {wanted.help} |"
    yield ""
    for inner, name, heading in later:
        yield from _section(inner, name, heading)


def _default(default: Any, wanted: Wanted) -> str:
    value = plain(default, wanted)
    if value is None or value in ("", []):
        return "unset" if value is None else "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
