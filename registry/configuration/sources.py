"""Which origin of a setting wins: a flag over the environment over the file over the default."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from records import Record
from registry.configuration.build import Builder, Wanted, fields_of
from registry.configuration.document import Node, read_file
from registry.errors import RegistryConfigError

S = TypeVar("S", bound=Record)

PREFIX: Final = "LADING_REGISTRY_"
"""What the name of every variable begins with: ``LADING_REGISTRY_TLS_CERT`` is ``tls.cert``."""


def load(
    kind: type[S],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> S:
    """Make settings of every origin.

    ``flags`` and ``defaults`` map dotted names (``tls.cert``) to values; None is not given.

    Raises:
        RegistryConfigError: anything is wrong anywhere; ``problems`` has all of it.
    """
    tree = Node({}, "the configuration") if file is None else read_file(file)
    builder = Builder()
    if isinstance(tree.value, dict):
        for name, value in (defaults or {}).items():
            if _lookup(tree, name) is None:
                _set(tree, name, Node(value, "the defaults"))
        _apply_environment(kind, tree, environment or {}, builder)
        for name, value in (flags or {}).items():
            if value is not None:
                _set(tree, name, Node(value, "the command line"))
    made = builder.section(kind, tree)
    if builder.problems:
        _raise(builder.problems, file)
    if not isinstance(made, kind):
        raise AssertionError("a section without problems is made")
    return made


def variables(kind: type[Record]) -> dict[str, tuple[str, Wanted]]:
    """Every variable, with the dotted name and type of the setting it replaces."""
    return {
        PREFIX + name.replace(".", "_").upper(): (name, wanted) for name, wanted in leaves(kind)
    }


def leaves(kind: type[Record], path: str = "") -> Iterator[tuple[str, Wanted]]:
    """The dotted names of all settings that are no sections."""
    for name, wanted in fields_of(kind).items():
        full = f"{path}.{name}" if path else name
        if wanted.is_section:
            yield from leaves(wanted.kind, full)
        else:
            yield full, wanted


def _apply_environment(
    kind: type[Record], tree: Node, environment: Mapping[str, str], builder: Builder
) -> None:
    given = sorted(name for name in environment if name.startswith(PREFIX))
    if not given:
        return
    known = variables(kind)
    for variable in given:
        if variable not in known:
            close = difflib.get_close_matches(variable, list(known), n=1, cutoff=0.8)
            builder.problems.append(
                RegistryConfigError(
                    "no setting has this variable",
                    where=variable,
                    fix=f"did you mean {close[0]}?" if close else "unset it",
                )
            )
            continue
        name, wanted = known[variable]
        _set(tree, name, _from_text(environment[variable], variable, wanted))


def _from_text(text: str, variable: str, wanted: Wanted) -> Node:
    """A variable's value; a list of tables is written as JSON."""
    if wanted.item is None or not wanted.item.is_section:
        return Node(text, variable, text=True)
    try:
        return _from_json(json.loads(text), variable)
    except ValueError:
        return Node(text, variable)


def _from_json(value: Any, origin: str) -> Node:
    if isinstance(value, dict):
        return Node({name: _from_json(inner, origin) for name, inner in value.items()}, origin)
    if isinstance(value, list):
        return Node([_from_json(inner, origin) for inner in value], origin)
    return Node(value, origin)


def _lookup(tree: Node, name: str) -> Node | None:
    node: Node | None = tree
    for step in name.split("."):
        node = node.value.get(step) if node and isinstance(node.value, dict) else None
    return node


def _set(tree: Node, name: str, node: Node) -> None:
    *sections, last = name.split(".")
    for step in sections:
        inner = tree.value.get(step)
        if inner is None or not isinstance(inner.value, dict):
            if inner is not None and inner.value is not None:
                return  # what is written there is wrong, and is reported as such
            inner = tree.value[step] = dataclasses.replace(node, value={}, text=False)
        tree = inner
    tree.value[last] = node


def _raise(problems: list[RegistryConfigError], file: Path | None) -> None:
    if len(problems) == 1:
        raise problems[0]
    where = None if file is None else str(file)
    raise RegistryConfigError(f"{len(problems)} problems", where=where, problems=problems)
