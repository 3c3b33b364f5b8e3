"""From a tree of nodes to frozen settings, by the annotations of their records.

Everything that is wrong is collected with its place, so one look mends a file; a section is made
only when each of its fields is right, since what it then says of their combination is true.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from records import Record, defaults_of, field_names
from registry.configuration.document import Node
from registry.configuration.units import Unit, parse_duration, parse_size
from registry.errors import RegistryConfigError

_WORDS: Final = types.MappingProxyType(
    {"true": True, "yes": True, "on": True, "1": True}
    | {"false": False, "no": False, "off": False, "0": False}
)
_NONE: Final = "none"
_NOUNS: Final = types.MappingProxyType(
    {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
)
_UNITS: Final = types.MappingProxyType(
    {Unit.DURATION: "a duration such as 90s, 10m or 7d", Unit.SIZE: "a size such as 64KiB or 5GiB"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What an annotation asks for, taken apart.

    ``kind`` is a plain type, a section's class, an enum, or ``tuple`` with what it holds in
    ``item``; ``help`` is the sentence for people.
    """

    kind: type[Any]
    unit: Unit | None = None
    optional: bool = False
    item: Wanted | None = None
    help: str = ""

    @property
    def is_section(self) -> bool:
        """Whether it is a record of settings."""
        return issubclass(self.kind, Record)

    def noun(self) -> str:
        """What to tell somebody who wrote something else."""
        if self.unit is not None:
            return _UNITS[self.unit]
        if issubclass(self.kind, enum.Enum):
            return "one of " + ", ".join(str(member.value) for member in self.kind)
        if self.kind is tuple:
            return "a list"
        return _NOUNS.get(self.kind, "a table of settings")


def understand(annotation: Any) -> Wanted:
    """Take an annotation of a settings field apart.

    Raises:
        TypeError: no rule says how such a value is written.
    """
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *notes = typing.get_args(annotation)
        units = [note for note in notes if isinstance(note, Unit)]
        texts = [note for note in notes if isinstance(note, str)]
        wanted = understand(inner)
        return dataclasses.replace(
            wanted,
            unit=units[-1] if units else wanted.unit,
            help=texts[-1] if texts else wanted.help,
        )
    if origin in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        if len(inner) == 1:
            return dataclasses.replace(understand(inner[0]), optional=True)
    if origin is tuple:
        item, dots = typing.get_args(annotation)
        if dots is Ellipsis:
            return Wanted(tuple, item=understand(item))
    if isinstance(annotation, type) and (
        annotation in _NOUNS or issubclass(annotation, enum.Enum | Record)
    ):
        return Wanted(annotation)
    raise TypeError(f"no way to write {annotation!r} in a file")


def fields_of(section: type[Record]) -> Mapping[str, Wanted]:
    """What each field of a section asks for, in order."""
    hints = typing.get_type_hints(section, include_extras=True)
    return types.MappingProxyType({name: understand(hints[name]) for name in field_names(section)})


class Builder:
    """Makes settings of nodes and keeps what was wrong in ``problems``."""

    def __init__(self) -> None:
        self.problems: list[RegistryConfigError] = []

    def section(self, kind: type[Record], node: Node, path: str = "") -> Any:
        """An instance of a settings class; None when anything in it is wrong."""
        if not isinstance(node.value, dict):
            return self._wrong(node, path, "a table of settings belongs here")
        before = len(self.problems)
        wanted = fields_of(kind)
        for name, inner in node.value.items():
            if name not in wanted:
                self._unknown(inner, path, name, wanted)
        values = {
            name: self.value(want, node.value[name], _join(path, name))
            for name, want in wanted.items()
            if name in node.value
        }
        given = values.keys() | defaults_of(kind).keys()
        for name in wanted:
            if name not in given:
                self._wrong(node, path, f"{name} is missing")
        if len(self.problems) > before:
            return None
        try:
            return kind(**values)
        except RegistryConfigError as error:
            for problem in error.problems or (error,):
                place = _find(node, problem.where or "")
                full = _join(path, problem.where or "")
                self._wrong(place, full, problem.what, problem.fix)
        return None

    def value(self, wanted: Wanted, node: Node, path: str) -> Any:
        """A value of the wanted type; None when it is wrong or unset."""
        value = node.value
        if value is None or _is_unset(wanted, node):
            if wanted.optional:
                return None
            return self._wrong(node, path, f"{wanted.noun()} belongs here, and nothing is")
        if wanted.is_section:
            return self.section(wanted.kind, node, path)
        if wanted.kind is tuple:
            return self._tuple(wanted, node, path)
        try:
            return _scalar(wanted, node)
        except ValueError:
            fix = None
            if issubclass(wanted.kind, enum.Enum):
                fix = _did_you_mean(str(value), [str(member.value) for member in wanted.kind])
            elif wanted.kind is str:
                fix = "write it in quotes"
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            what = "a table" if isinstance(value, dict) else "a list"
            shown = what if isinstance(value, dict | list) else shown
            return self._wrong(node, path, f"{shown} is not {wanted.noun()}", fix)

    def _tuple(self, wanted: Wanted, node: Node, path: str) -> Any:
        assert wanted.item is not None
        value = node.value
        if node.text and not wanted.item.is_section:
            parts = [part.strip() for part in value.split(",")]
            value = [dataclasses.replace(node, value=part) for part in parts if part]
        if not isinstance(value, list):
            return self._wrong(node, path, f"{wanted.noun()} belongs here")
        return tuple(
            self.value(wanted.item, inner, f"{path}[{number}]")
            for number, inner in enumerate(value)
        )

    def _unknown(self, node: Node, path: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        fix = _did_you_mean(name, known) or "there are: " + ", ".join(known)
        self._wrong(node, _join(path, name), "no such setting", fix)

    def _wrong(self, node: Node, path: str, what: str, fix: str | None = None) -> Any:
        """Note a problem; None, for a caller that has no value instead."""
        what = f"{path}: {what}" if path else what
        self.problems.append(RegistryConfigError(what, where=node.origin, fix=fix))
        return None


def _is_unset(wanted: Wanted, node: Node) -> bool:
    """Whether it says that the setting is left out: TOML and variables have no null."""
    if not wanted.optional:
        return False
    return (node.text and node.value == "") or (node.value == _NONE and wanted.kind is not str)


def _scalar(wanted: Wanted, node: Node) -> Any:
    """Convert one value.

    Raises:
        ValueError: it is something else.
    """
    value, kind = node.value, wanted.kind
    if wanted.unit is not None:
        return _measure(wanted.unit, value)
    if issubclass(kind, enum.Enum):
        return next(_matching(kind, value))
    if kind is Path:
        return _path(node)
    if kind is bool and node.text:
        return _word(value)
    if kind in (int, float) and (node.text or type(value) is int):
        return kind(value)
    if type(value) is not kind:
        raise ValueError(value)
    return value


def _matching(kind: type[enum.Enum], value: Any) -> typing.Iterator[enum.Enum]:
    yield from (member for member in kind if str(member.value) == str(value))
    raise ValueError(value)


def _measure(unit: Unit, value: Any) -> float:
    if isinstance(value, str):
        return parse_duration(value) if unit is Unit.DURATION else parse_size(value)
    if type(value) is int:
        return float(value) if unit is Unit.DURATION else value
    if type(value) is float and unit is Unit.DURATION:
        return value
    raise ValueError(value)


def _path(node: Node) -> Path:
    if not isinstance(node.value, str | Path) or not str(node.value):
        raise ValueError(node.value)
    path = Path(node.value).expanduser()
    return path if node.folder is None else node.folder / path


def _word(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError(text)
    return _WORDS[text.lower()]


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


def _find(node: Node, where: str) -> Node:
    """The node that ``rules[2].actions`` names below ``node``, or the nearest one above it."""
    for step in where.replace("[", ".").replace("]", "").split("."):
        value = node.value
        if isinstance(value, dict) and step in value:
            node = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            node = value[int(step)]
    return node


def _did_you_mean(word: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None
