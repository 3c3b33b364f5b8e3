"""HCL's JSON form to the same tree: objects are bodies where the schema has blocks, strings are
templates.

https://github.com/hashicorp/hcl/blob/main/json/spec.md. The reader is our own because positions are
wanted, and because a key may come more than once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from decimal import Decimal
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Final

from engine.bake.errors import BakeLimitError, BakeSyntaxError
from engine.bake.hcl import nodes
from engine.bake.hcl.parser import parse_template
from engine.bake.source import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.bake.hcl.nodes import Body, Expression
    from engine.bake.source import SourceFile

DEPTH: Final = 100
"""Objects and arrays within one another."""

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


class BlockShape:
    """How many labels a block has, and which blocks may stand in it."""

    def __init__(self, labels: int, blocks: Mapping[str, BlockShape] | None = None) -> None:
        self.labels = labels
        self.blocks = blocks or {}


def parse_json(file: SourceFile, blocks: Mapping[str, BlockShape]) -> Body:
    """Read a file whose top level has these blocks.

    Raises:
        BakeSyntaxError, BakeLimitError: with the place.
    """
    value = _Reader(file).read()
    if not isinstance(value, nodes.Object):
        raise BakeSyntaxError("a definition is an object at its top", place=value.at)
    return _body(value, blocks)


def _body(value: Expression, blocks: Mapping[str, BlockShape]) -> Body:
    settings: dict[str, nodes.Setting] = {}
    found: list[nodes.Block] = []
    for item in _objects(value):
        for name, at, inner in _pairs(item):
            if name in blocks:
                found += _blocks(name, (), inner, blocks[name])
            elif name != "//":
                if name in settings:
                    raise BakeSyntaxError(f"{name} is set twice", place=at)
                settings[name] = nodes.Setting(at, name, inner)
    return nodes.Body(value.at, tuple(settings.values()), tuple(found))


def _blocks(
    kind: str, labels: tuple[str, ...], value: Expression, shape: BlockShape
) -> Iterator[nodes.Block]:
    if len(labels) < shape.labels:
        for item in _objects(value):
            for label, _, inner in _pairs(item):
                yield from _blocks(kind, (*labels, label), inner, shape)
        return
    for item in _objects(value):
        yield nodes.Block(item.at, kind, labels, _body(item, shape.blocks))


def _objects(value: Expression) -> Iterator[nodes.Object]:
    items = value.items if isinstance(value, nodes.Tuple) else (value,)
    for item in items:
        if isinstance(item, nodes.Object):
            yield item
        elif not (isinstance(item, nodes.Literal) and item.value is None):
            raise BakeSyntaxError("an object is due here", place=value.at)


def _pairs(value: nodes.Object) -> Iterator[tuple[str, Place, Expression]]:
    for key, inner in value.items:
        assert isinstance(key, nodes.JsonString)
        yield key.text, key.at, inner


class _Reader:
    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._text = file.text
        self._position = 0
        self._depth = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", file.text))]

    def read(self) -> Expression:
        value = self._value()
        self._space()
        if self._position < len(self._text):
            raise self._fault("the object ended before this")
        return value

    def _place(self, position: int | None = None) -> Place:
        position = self._position if position is None else position
        line = bisect_right(self._starts, position)
        return Place(self._file, line, position - self._starts[line - 1] + 1)

    def _fault(self, what: str, position: int | None = None) -> BakeSyntaxError:
        return BakeSyntaxError(what, place=self._place(position))

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._position)
        assert match is not None
        self._position = match.end()

    def _take(self, text: str) -> bool:
        self._space()
        if self._text.startswith(text, self._position):
            self._position += len(text)
            return True
        return False

    def _value(self) -> Expression:
        self._space()
        at = self._place()
        head = self._text[self._position : self._position + 1]
        if head == '"':
            return self._string()
        if head in ("{", "["):
            self._depth += 1
            if self._depth > DEPTH:
                raise BakeLimitError(f"more than {DEPTH} brackets within one another", place=at)
            self._position += 1
            made = self._object(at) if head == "{" else self._array(at)
            self._depth -= 1
            return made
        number = _NUMBER.match(self._text, self._position)
        if number is not None:
            self._position = number.end()
            return nodes.Literal(at, Decimal(number.group()))
        for word, value in _CONSTANTS.items():
            if self._take(word):
                return nodes.Literal(at, value)
        raise self._fault("a JSON value is due here")

    def _string(self) -> nodes.JsonString:
        at = self._place()
        try:
            text, self._position = scanstring(self._text, self._position + 1, True)  # noqa: FBT003
        except JSONDecodeError as error:
            raise self._fault(f"not a JSON string: {error.msg}", error.pos) from error
        plain = "${" not in text and "%{" not in text
        template = nodes.Literal(at, text) if plain else parse_template(text, at)
        return nodes.JsonString(at, text, template)

    def _object(self, at: Place) -> Expression:
        items: list[tuple[Expression, Expression]] = []
        while not self._take("}"):
            if items and not self._take(","):
                raise self._fault("a comma or } is due here")
            self._space()
            if not self._text.startswith('"', self._position):
                raise self._fault("a name in double quotes is due here")
            key = self._string()
            if not self._take(":"):
                raise self._fault("a colon is due here")
            items.append((key, self._value()))
        return nodes.Object(at, tuple(items))

    def _array(self, at: Place) -> Expression:
        items: list[Expression] = []
        while not self._take("]"):
            if items and not self._take(","):
                raise self._fault("a comma or ] is due here")
            items.append(self._value())
        return nodes.Tuple(at, tuple(items))
