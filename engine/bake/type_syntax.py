"""Types as they are written: ``string``, ``list(number)``, ``object({ a = optional(bool) })``."""

from __future__ import annotations

from typing import Final

from engine.bake.errors import BakeSyntaxError
from engine.bake.hcl import nodes
from engine.bake.hcl.parser import parse_expression
from engine.bake.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    Type,
    list_type,
    map_type,
    object_type,
    set_type,
    tuple_type,
)

_NAMES: Final = {"string": STRING, "number": NUMBER, "bool": BOOL, "any": ANY}
_COLLECTIONS: Final = {"list": list_type, "set": set_type, "map": map_type}


def read_type(node: nodes.Expression) -> Type:
    """The type that an expression names.

    https://github.com/hashicorp/hcl/tree/main/ext/typeexpr. Defaults of optional attributes are not
    taken, as docker's bake does not take them.

    Raises:
        BakeSyntaxError: it names none.
    """
    node = as_syntax(node)
    if isinstance(node, nodes.Variable) and node.name in _NAMES:
        return _NAMES[node.name]
    if isinstance(node, nodes.Call) and len(node.arguments) == 1 and not node.spread:
        argument = as_syntax(node.arguments[0])
        if node.name in _COLLECTIONS:
            return _COLLECTIONS[node.name](read_type(argument))
        if node.name == "tuple" and isinstance(argument, nodes.Tuple):
            return tuple_type(tuple(read_type(item) for item in argument.items))
        if node.name == "object" and isinstance(argument, nodes.Object):
            return _object(argument)
    raise BakeSyntaxError(
        "this is no type",
        place=node.at,
        fix="use string, number, bool, any, list(T), set(T), map(T), tuple([T, ...]) or "
        "object({ name = T })",
    )


def _object(node: nodes.Object) -> Type:
    attributes: dict[str, Type] = {}
    optional = set()
    for key, value in node.items:
        name = keyword(key)
        if name is None:
            raise BakeSyntaxError("an attribute's name is due here", place=key.at)
        inner = as_syntax(value)
        if isinstance(inner, nodes.Call) and inner.name == "optional" and len(inner.arguments) == 1:
            optional.add(name)
            inner = inner.arguments[0]
        attributes[name] = read_type(inner)
    return object_type(attributes, frozenset(optional))


def as_syntax(node: nodes.Expression) -> nodes.Expression:
    """A JSON string read as HCL, everything else as it is."""
    return parse_expression(node.text, node.at) if isinstance(node, nodes.JsonString) else node


def keyword(node: nodes.Expression) -> str | None:
    """The bare name or constant text that an expression is, if it is one."""
    if isinstance(node, nodes.JsonString):
        return node.text
    if isinstance(node, nodes.Variable):
        return node.name
    if isinstance(node, nodes.Literal) and isinstance(node.value, str):
        return node.value
    return None
