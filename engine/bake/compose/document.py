"""YAML as compose reads it: fewer words are booleans or dates than in YAML 1.1, and two tags of its
own say how files are merged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from engine.bake.errors import BakeLimitError, BakeSyntaxError
from engine.bake.source import Place

if TYPE_CHECKING:
    from engine.bake.source import SourceFile

NODES: Final = 50_000
"""Most values of a file, aliases counted as often as they are used."""
DEPTH: Final = 60
"""Mappings and lists within one another."""


class Reset:
    """``!reset``: what earlier files say here is forgotten."""


class Replacement:
    """``!override``: what earlier files say here is replaced, not merged."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Loader(yaml.SafeLoader):
    """Only true and false are booleans, and nothing is a date or counts to sixty."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012


_SCALARS: Final = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first, ""])


def _decimal(loader: _Loader, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(str(text), 16 if "x" in str(text) else 10)


def _reset(loader: _Loader, node: Any) -> Reset:
    del loader, node
    return Reset()


def _override(loader: _Loader, node: Any) -> Replacement:
    if isinstance(node, yaml.MappingNode):
        return Replacement(loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Replacement(loader.construct_sequence(node, deep=True))
    return Replacement(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)
_Loader.add_constructor("!reset", _reset)
_Loader.add_constructor("!override", _override)


def read_document(source: SourceFile) -> dict[str, Any]:
    """The mapping that a file is.

    Raises:
        BakeSyntaxError: it is no YAML, or no mapping.
        BakeLimitError: it is too deep, or its aliases make it too large.
    """
    try:
        document = yaml.load(source.text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(source, mark.line + 1, mark.column + 1) if mark is not None else None
        what = getattr(error, "problem", None) or "this is no YAML"
        raise BakeSyntaxError(str(what), where=source.name, place=place) from error
    except (ValueError, RecursionError) as error:
        raise BakeSyntaxError(f"this is no YAML: {error}", where=source.name) from error
    if not isinstance(document, dict):
        raise BakeSyntaxError("a compose file is a mapping at its top", where=source.name)
    _measure(document, source.name)
    return document


def _measure(document: object, name: str) -> None:
    count = 0
    waiting: list[tuple[object, int]] = [(document, 0)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count > NODES:
            raise BakeLimitError(f"more than {NODES} values", where=name)
        if depth > DEPTH:
            raise BakeLimitError(f"more than {DEPTH} levels", where=name)
        if isinstance(item, Replacement):
            waiting.append((item.value, depth))
        elif isinstance(item, dict):
            waiting += [(one, depth + 1) for one in item.values()]
        elif isinstance(item, list):
            waiting += [(one, depth + 1) for one in item]
