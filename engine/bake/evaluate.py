"""The evaluator: an expression and a scope in, a value out, within limits.

The rules are those of HCL's specification. Names are looked up when they are met, so a branch that
is not taken asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

from dockerfile_grammar.suggest import nearest
from engine.bake.errors import BakeError, BakeLimitError, BakeValueError
from engine.bake.functions.function import FunctionError
from engine.bake.hcl import nodes
from engine.bake.operators import apply_binary, apply_unary, index_of
from engine.bake.type_syntax import read_type
from engine.bake.values import value as make
from engine.bake.values.convert import ConversionError, convert, unify
from engine.bake.values.types import BOOL, STRING, Type
from engine.bake.values.value import Value, elements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.bake.functions.function import Function
    from engine.bake.hcl.nodes import Expression
    from engine.bake.source import Place

DEPTH: Final = 150
"""Expressions within one another, calls of the file's own functions included."""
WORK: Final = 1_000_000
"""Expressions evaluated, and characters and elements made, for one definition."""


class Budget:
    """What is left of ``WORK``."""

    def __init__(self, work: int = WORK) -> None:
        self._left = work

    def spend(self, amount: int, place: Place | None) -> None:
        """Take so much.

        Raises:
            BakeLimitError: nothing is left.
        """
        self._left -= amount
        if self._left < 0:
            raise BakeLimitError(
                "evaluating this definition takes too much work",
                place=place,
                fix="something in it grows without bounds: a matrix, a range, a repeated text",
            )


class Names(Protocol):
    """Where names come from."""

    def variable(self, name: str, place: Place) -> Value | None:
        """A variable's value, None where there is none of that name."""

    def path(self, names: Sequence[str], place: Place) -> tuple[Value, int] | None:
        """The value of a longer name (``target.app.tags``) and how many of its parts it took."""

    def function(self, name: str) -> Function | None:
        """A function, None where there is none of that name."""

    def known(self) -> list[str]:
        """The names of all variables, for suggestions."""

    def functions(self) -> list[str]:
        """The names of all functions, for suggestions."""


class Evaluator:
    """Evaluates in one scope; ``within`` makes one with more variables."""

    def __init__(
        self,
        names: Names,
        budget: Budget,
        local: Mapping[str, Value] | None = None,
        *,
        depth: int = 0,
    ) -> None:
        self._names = names
        self._budget = budget
        self._local = local or {}
        self._depth = depth
        self._item: Value | None = None

    def within(self, variables: Mapping[str, Value]) -> Evaluator:
        """The same scope with these variables in front."""
        inner = Evaluator(
            self._names, self._budget, {**self._local, **variables}, depth=self._depth
        )
        inner._item = self._item
        return inner

    def value(self, node: Expression) -> Value:
        """The value of an expression.

        Raises:
            BakeValueError: it has none; the place is that of the smallest part to blame.
            BakeLimitError: it takes too much.
        """
        self._depth += 1
        try:
            if self._depth > DEPTH:
                raise BakeLimitError(
                    f"more than {DEPTH} expressions within one another", place=node.at
                )
            self._budget.spend(1, node.at)
            return _METHODS[type(node)](self, node)
        finally:
            self._depth -= 1

    def text(self, node: Expression) -> str:
        """The value as a string that is not null; raises as ``value``."""
        data = self.converted(node, STRING).data
        if not isinstance(data, str):
            raise BakeValueError("this is null where text is required", place=node.at)
        return data

    def converted(self, node: Expression, wanted: Type) -> Value:
        """The value as a type; raises as ``value``."""
        return _as(self.value(node), wanted, node.at)

    # -- leaves ------------------------------------------------------------------------------

    def _literal(self, node: nodes.Literal) -> Value:
        data = node.value
        if data is None:
            return make.NULL
        if isinstance(data, bool):
            return make.boolean(data)
        if isinstance(data, str):
            return make.string(data)
        return _number(data, node.at)

    def _variable(self, node: nodes.Variable) -> Value:
        if node.name in self._local:
            return self._local[node.name]
        found = self._names.variable(node.name, node.at)
        if found is None:
            near = nearest(node.name, [*self._local, *self._names.known()])
            raise BakeValueError(
                f"there is no variable {node.name}",
                place=node.at,
                fix=f"did you mean {near}?" if near else None,
            )
        return found

    def _splat_item(self, node: nodes.SplatItem) -> Value:
        assert self._item is not None, node
        return self._item

    def _parentheses(self, node: nodes.Parentheses) -> Value:
        return self.value(node.inner)

    def _json_string(self, node: nodes.JsonString) -> Value:
        return self.value(node.template)

    # -- traversals --------------------------------------------------------------------------

    def _attribute(self, node: nodes.Attribute) -> Value:
        path = _path(node)
        if path and path[0] not in self._local:
            found = self._names.path(path, node.at)
            if found is not None:
                value, taken = found
                for name in path[taken:]:
                    value = _member(value, name, node.at)
                return value
        return _member(self.value(node.object), node.name, node.at)

    def _index(self, node: nodes.Index) -> Value:
        return index_of(self.value(node.object), self.value(node.key), node.at)

    def _splat(self, node: nodes.Splat) -> Value:
        source = self.value(node.object)
        if source.null:
            return make.tuple_of(())
        items = [item for _, item in elements(source)] if source.type.sequence else [source]
        results = []
        for item in items:
            inner = self.within({})
            inner._item = item
            results.append(inner.value(node.each))
        if source.type.name in ("list", "set") and results:
            return self._weighed(make.list_of(results, results[0].type), node)
        return self._weighed(make.tuple_of(results), node)

    # -- operators ---------------------------------------------------------------------------

    def _unary(self, node: nodes.Unary) -> Value:
        return apply_unary(node.operator, self.value(node.operand), node.at)

    def _binary(self, node: nodes.Binary) -> Value:
        left = self.value(node.left)
        if node.operator in ("&&", "||"):
            first = self._truth(left, node.left.at)
            if first == (node.operator == "||"):
                return make.boolean(first)
            return make.boolean(self._truth(self.value(node.right), node.right.at))
        right = self.value(node.right)
        places = (node.left.at, node.right.at)
        return apply_binary(node.operator, left, right, node.at, places)

    def _truth(self, value: Value, place: Place) -> bool:
        data = _as(value, BOOL, place).data
        if data is None:
            raise BakeValueError("this is null where true or false is required", place=place)
        return bool(data)

    def _conditional(self, node: nodes.Conditional) -> Value:
        """The branch that is taken, as the type that both branches can have."""
        taken, other = node.yes, node.no
        if not self._truth(self.value(node.condition), node.condition.at):
            taken, other = other, taken
        result = self.value(taken)
        try:
            alternative = self.value(other)
        except BakeLimitError:
            raise
        except BakeError:
            return result
        common = unify([result.type, alternative.type])
        if common is None:
            raise BakeValueError(
                "both branches must be of one type, but these are "
                f"{result.type.friendly()} and {alternative.type.friendly()}",
                place=node.at,
            )
        return _as(result, common, taken.at)

    # -- collections -------------------------------------------------------------------------

    def _tuple(self, node: nodes.Tuple) -> Value:
        return self._weighed(make.tuple_of([self.value(item) for item in node.items]), node)

    def _object(self, node: nodes.Object) -> Value:
        items: dict[str, Value] = {}
        for key, value in node.items:
            items[self._key(key)] = self.value(value)
        return self._weighed(make.object_of(items), node)

    def _weighed(self, value: Value, node: Expression) -> Value:
        self._budget.spend(value.weight, node.at)
        return value

    def _key(self, node: Expression) -> str:
        if isinstance(node, nodes.Variable):
            return node.name
        if isinstance(node, nodes.Literal) and isinstance(node.value, bool | None):
            return {True: "true", False: "false", None: "null"}[node.value]
        return self.text(node.template if isinstance(node, nodes.JsonString) else node)

    def _for(self, node: nodes.For) -> Value:
        rows = self._rows(node.key, node.value, node.collection)
        if node.new_key is None:
            results = [row.value(node.result) for row in rows if self._passes(row, node.condition)]
            return self._weighed(make.tuple_of(results), node)
        groups: dict[str, list[Value]] = {}
        for row in rows:
            if not self._passes(row, node.condition):
                continue
            key = row.text(node.new_key)
            if key in groups and not node.grouped:
                raise BakeValueError(
                    f"two elements have the key {key!r}",
                    place=node.new_key.at,
                    fix="write ... after the value to collect them",
                )
            groups.setdefault(key, []).append(row.value(node.result))
        grouped = {
            key: make.tuple_of(items) if node.grouped else items[0] for key, items in groups.items()
        }
        return self._weighed(make.object_of(grouped), node)

    def _rows(self, key: str | None, name: str, collection: Expression) -> list[Evaluator]:
        source = self.value(collection)
        if source.null or not (source.type.sequence or source.type.mapping):
            what = "null" if source.null else source.type.friendly()
            raise BakeValueError(f"{what} has no elements to go through", place=collection.at)
        pairs = elements(source)
        self._budget.spend(len(pairs), collection.at)
        return [self.within({**({key: at} if key else {}), name: item}) for at, item in pairs]

    def _passes(self, row: Evaluator, condition: Expression | None) -> bool:
        return condition is None or self._truth(row.value(condition), condition.at)

    # -- templates ---------------------------------------------------------------------------

    def _template(self, node: nodes.Template) -> Value:
        if len(node.parts) == 1 and isinstance(node.parts[0], nodes.Parentheses):
            return self.value(node.parts[0].inner)
        return self._weighed(self._joined(node), node)

    def _template_if(self, node: nodes.TemplateIf) -> Value:
        truth = self._truth(self.value(node.condition), node.condition.at)
        return self._joined(node.yes if truth else node.no)

    def _template_for(self, node: nodes.TemplateFor) -> Value:
        rows = self._rows(node.key, node.value, node.collection)
        joined = [self._weighed(row._joined(node.body), node).data for row in rows]
        return make.string("".join(joined))

    def _joined(self, node: nodes.Template) -> Value:
        return make.string("".join(self.text(part) for part in node.parts))

    # -- calls -------------------------------------------------------------------------------

    def _call(self, node: nodes.Call) -> Value:
        special = _SPECIAL.get(node.name)
        if special is not None:
            return special(self, node)
        function = self._names.function(node.name)
        if function is None:
            near = nearest(node.name, self._names.functions())
            raise BakeValueError(
                f"there is no function {node.name}",
                place=node.at,
                fix=f"did you mean {near}?" if near else None,
            )
        arguments = self._arguments(node)
        try:
            result = function.call(arguments)
        except FunctionError as error:
            index = error.argument
            known = index is not None and index < len(node.arguments)
            place = node.arguments[index].at if known and index is not None else node.at
            raise BakeValueError(f"{node.name}: {error}", place=place) from error
        return self._weighed(result, node)

    def _arguments(self, node: nodes.Call) -> list[Value]:
        values = [self.value(argument) for argument in node.arguments]
        if node.spread:
            last = values.pop()
            if last.null or not last.type.sequence:
                raise BakeValueError(
                    "what is spread over arguments must be a list, set or tuple",
                    place=node.arguments[-1].at,
                )
            values += last.data
        return values

    def _try(self, node: nodes.Call) -> Value:
        """``try(a, b, ...)``: the first that has a value."""
        for argument in node.arguments:
            found = self._attempt(argument)
            if found is not None:
                return found
        raise BakeValueError("try: none of these has a value", place=node.at)

    def _can(self, node: nodes.Call) -> Value:
        """``can(a)``: whether it has a value."""
        if len(node.arguments) != 1:
            raise BakeValueError("can takes one argument", place=node.at)
        return make.boolean(self._attempt(node.arguments[0]) is not None)

    def _attempt(self, node: Expression) -> Value | None:
        try:
            return self.value(node)
        except BakeLimitError:
            raise
        except BakeError:
            return None

    def _convert(self, node: nodes.Call) -> Value:
        """``convert(value, type)``."""
        if len(node.arguments) != 2:
            raise BakeValueError("convert takes a value and a type", place=node.at)
        value, type = node.arguments
        return self.converted(value, read_type(type))


def _number(data: Decimal, place: Place) -> Value:
    try:
        return make.number(data)
    except ArithmeticError as error:
        raise BakeValueError("the number is out of range", place=place) from error


def _as(value: Value, wanted: Type, place: Place) -> Value:
    try:
        return convert(value, wanted)
    except ConversionError as error:
        raise BakeValueError(str(error), place=place) from error


def _path(node: Expression) -> list[str] | None:
    """``a.b.c`` as its names; None where an index or a call is part of it."""
    names = []
    while isinstance(node, nodes.Attribute):
        names.append(node.name)
        node = node.object
    if not isinstance(node, nodes.Variable):
        return None
    return [node.name, *reversed(names)]


def _member(value: Value, name: str, place: Place) -> Value:
    if value.null:
        raise BakeValueError(f"null has no attribute {name}", place=place)
    if not value.type.mapping:
        raise BakeValueError(f"{value.type.friendly()} has no attributes", place=place)
    if name not in value.data:
        near = nearest(name, value.data)
        raise BakeValueError(
            f"there is no attribute {name}",
            place=place,
            fix=f"did you mean {near}?" if near else None,
        )
    found = value.data[name]
    assert isinstance(found, Value)
    return found


_SPECIAL: Final[Mapping[str, Callable[[Evaluator, nodes.Call], Value]]] = {
    "try": Evaluator._try,
    "can": Evaluator._can,
    "convert": Evaluator._convert,
}
"""Functions that get expressions rather than values."""

_METHODS: Final[Mapping[type, Callable[..., Value]]] = {
    nodes.Literal: Evaluator._literal,
    nodes.Variable: Evaluator._variable,
    nodes.SplatItem: Evaluator._splat_item,
    nodes.Parentheses: Evaluator._parentheses,
    nodes.JsonString: Evaluator._json_string,
    nodes.Attribute: Evaluator._attribute,
    nodes.Index: Evaluator._index,
    nodes.Splat: Evaluator._splat,
    nodes.Unary: Evaluator._unary,
    nodes.Binary: Evaluator._binary,
    nodes.Conditional: Evaluator._conditional,
    nodes.Tuple: Evaluator._tuple,
    nodes.Object: Evaluator._object,
    nodes.For: Evaluator._for,
    nodes.Template: Evaluator._template,
    nodes.TemplateIf: Evaluator._template_if,
    nodes.TemplateFor: Evaluator._template_for,
    nodes.Call: Evaluator._call,
}
SPECIAL_FUNCTIONS: Final = tuple(_SPECIAL)
