"""The tree of a definition file: bodies of attributes and blocks, and expressions.

Whether it was written as HCL or as JSON cannot be seen here, but for ``JsonString``: what its text
means depends on who asks. Every node knows its place.
"""

from __future__ import annotations

from engine.bake.source import Place
from records import Record, field, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal


class Node(Record):
    """Base of all nodes; ``at`` is where the first character stands."""

    at: Place = field(repr=False, compare=False)


class Expression(Node):
    """Base of what has a value."""


class Literal(Expression):
    """A number, a piece of text, true, false or null."""

    value: Decimal | str | bool | None


class Variable(Expression):
    """A bare name."""

    name: str


class Parentheses(Expression):
    """Grouping; in an object's key it says that a bare name is a variable."""

    inner: Expression


class Attribute(Expression):
    """``object.name``."""

    object: Expression
    name: str


class Index(Expression):
    """``object[key]``, and the older ``object.0``."""

    object: Expression
    key: Expression


class Splat(Expression):
    """``object[*].steps`` and ``object.*.steps``: ``each`` is evaluated once for every element.

    In ``each``, ``SplatItem`` stands for the element.
    """

    object: Expression
    each: Expression


class SplatItem(Expression):
    """The element at hand in the innermost splat."""


class Unary(Expression):
    """``-x`` or ``!x``."""

    operator: str
    operand: Expression


class Binary(Expression):
    """Two operands and what stands between them."""

    operator: str
    left: Expression
    right: Expression


class Conditional(Expression):
    """``condition ? yes : no``."""

    condition: Expression
    yes: Expression
    no: Expression


class Call(Expression):
    """``name(arguments...)``; ``spread`` says that the last argument is a list of arguments."""

    name: str
    arguments: tuple[Expression, ...]
    spread: bool


class Tuple(Expression):
    """``[a, b]``."""

    items: tuple[Expression, ...]


class Object(Expression):
    """``{ key = value }``."""

    items: tuple[tuple[Expression, Expression], ...]


class For(Expression):
    """``[for key, value in collection : result if condition]``, or with ``new_key`` an object.

    ``grouped`` is the ``...`` after an object's value: values of equal keys become a list.
    """

    key: str | None
    value: str
    collection: Expression
    new_key: Expression | None
    result: Expression
    condition: Expression | None
    grouped: bool


class Template(Expression):
    """Text with sequences in it. One sequence and nothing else is that sequence's value."""

    parts: tuple[Expression, ...]


class TemplateIf(Expression):
    """``%{ if }``, ``%{ else }``, ``%{ endif }``."""

    condition: Expression
    yes: Template
    no: Template


class TemplateFor(Expression):
    """``%{ for }``, ``%{ endfor }``."""

    key: str | None
    value: str
    collection: Expression
    body: Template


class JsonString(Expression):
    """A string of a JSON file: a template as a value, its text where a keyword or type is due."""

    text: str
    template: Expression


class Setting(Node):
    """``name = value`` in a body."""

    name: str
    value: Expression


class Block(Node):
    """``type "label" { ... }``."""

    type: str
    labels: tuple[str, ...]
    body: Body


class Body(Node):
    """What stands in a file or between the braces of a block, in order."""

    settings: tuple[Setting, ...]
    blocks: tuple[Block, ...]

    def setting(self, name: str) -> Setting | None:
        """The setting of that name, if there is one; names are unique in a body."""
        return next((one for one in self.settings if one.name == name), None)


def walk(node: Expression) -> Iterator[Expression]:
    """The expression and all within it, without recursion: a hostile one is deep."""
    waiting: list[object] = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Place):
            continue
        if isinstance(item, Expression):
            yield item
            waiting.extend(values_of(item))
        elif isinstance(item, tuple):
            waiting.extend(item)
