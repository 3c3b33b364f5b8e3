"""HCL's native syntax to a tree: tokens through lark's LALR(1) tables, the result into nodes."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lark import Lark, Token
from lark.exceptions import UnexpectedToken, VisitError
from lark.lexer import Lexer as LarkLexer
from lark.visitors import Transformer_NonRecursive

from engine.bake.errors import BakeSyntaxError
from engine.bake.hcl import nodes
from engine.bake.hcl.tokens import Lexer
from engine.bake.source import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.bake.hcl.nodes import Body, Expression, Template
    from engine.bake.source import SourceFile

    Spread = tuple[tuple[Expression, ...], bool]

_WORDS = {
    "NL": "the end of the line",
    "NAME": "a name",
    "OPEN_QUOTE": "a string",
    "OPEN_INTERPOLATION": "a template sequence",
    "IF_START": "%{ if }",
    "FOR_START": "%{ for }",
    "CLOSE_QUOTE": "the end of the string",
    "CLOSE_HEREDOC": "the end of the heredoc",
    "OPEN_HEREDOC": "a heredoc",
    "OPEN_BLOCK": "{",
    "OPEN_OBJECT": "{",
    "CLOSE_BLOCK": "}",
    "CLOSE_OBJECT": "}",
    "END_SEQUENCE": "}",
    "TEXT": "text",
    "$END": "the end of the file",
    "ASSIGN": "=",
    "COLON": ":",
    "IN": "in",
    "ENDIF": "%{ endif }",
    "ENDFOR": "%{ endfor }",
    "ELSE": "%{ else }",
}
_START = {"body": "block", "expression": "(", "template": "text"}


def parse_file(file: SourceFile) -> Body:
    """Read a file.

    Raises:
        BakeSyntaxError, BakeLimitError: with the place.
    """
    body = _parse(file, file.text, "body", Place(file, 1, 1))
    assert isinstance(body, nodes.Body)
    return body


def parse_expression(text: str, at: Place) -> Expression:
    """Read one expression that stands at ``at``; raises as ``parse_file``."""
    return _expression(_parse(at.file, text, "expression", at))


def parse_template(text: str, at: Place) -> Expression:
    """Read text with sequences in it, without quotes around; raises as ``parse_file``."""
    template = _parse(at.file, text, "template", at)
    assert isinstance(template, nodes.Template)
    return _plain(template)


def _expression(node: object) -> Expression:
    assert isinstance(node, nodes.Expression)
    return node


def _parse(file: SourceFile, text: str, start: str, at: Place) -> object:
    fixed = None if start == "body" else at
    tokens = Lexer(file, text, _START[start], fixed).tokens()
    state = _grammar().parse_interactive(start=start)
    places: dict[int, Place] = {}
    try:
        for number, token in enumerate(tokens):
            places[number] = token.at
            # Lark's tokens have no room for a place; the line carries the token's number instead.
            state.feed_token(Token(token.kind, token.text, line=number))
        tree = state.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedToken as error:
        found = error.token
        place = places.get(found.line or 0, at) if found.type != "$END" else _end(file, text, fixed)
        raise BakeSyntaxError(_complaint(found), place=place, fix=_expected(error)) from error
    try:
        return _Builder(places, at).transform(tree)
    except VisitError as error:
        raise error.orig_exc from None


def _end(file: SourceFile, text: str, fixed: Place | None) -> Place:
    if fixed is not None:
        return fixed
    lines = text.rstrip("\n").split("\n")
    return Place(file, len(lines), len(lines[-1]) + 1)


def _complaint(found: Token) -> str:
    return f"unexpected {str(found).strip() or _WORDS[found.type]}"


def _expected(error: UnexpectedToken) -> str | None:
    names = {_WORDS.get(kind, "") for kind in error.accepts or ()} - {""}
    return f"expected {' or '.join(sorted(names))}" if 0 < len(names) <= 3 else None


class _NoLexer(LarkLexer):
    """Tokens are fed; nothing asks for this."""

    def __init__(self, conf: object) -> None:
        del conf

    def lex(self, *args: object) -> Iterator[Token]:
        """Never called."""
        raise AssertionError(args)


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    return Lark.open(
        "hcl.lark",
        rel_to=__file__,
        parser="lalr",
        lexer=_NoLexer,
        start=list(_START),
        propagate_positions=False,
        maybe_placeholders=False,
        keep_all_tokens=True,
    )


class _Builder(Transformer_NonRecursive[Token, Any]):
    """From lark's tree to nodes; each method makes the node of the rule that it is named after.

    All tokens are kept, so children stand where the grammar has them.
    """

    def __init__(self, places: dict[int, Place], start: Place) -> None:
        super().__init__(visit_tokens=False)
        self._places = places
        self._begin = start

    def _at(self, item: object) -> Place:
        if isinstance(item, Token):
            return self._places[item.line or 0]
        assert isinstance(item, nodes.Node)
        return item.at

    def _first(self, children: Sequence[object]) -> Place:
        return self._at(children[0]) if children else self._begin

    # -- bodies ------------------------------------------------------------------------------

    def body(self, children: list[Any]) -> Body:
        settings = [child for child in children if isinstance(child, nodes.Setting)]
        blocks = [child for child in children if isinstance(child, nodes.Block)]
        seen: dict[str, nodes.Setting] = {}
        for setting in settings:
            if setting.name in seen:
                raise BakeSyntaxError(
                    f"{setting.name} is set twice",
                    place=setting.at,
                    fix=f"it was set in line {seen[setting.name].at.line} already",
                )
            seen[setting.name] = setting
        return nodes.Body(self._first(settings or blocks), tuple(settings), tuple(blocks))

    def setting(self, children: list[Any]) -> nodes.Setting:
        name, _, value = children
        return nodes.Setting(self._at(name), str(name), value)

    def block(self, children: list[Any]) -> nodes.Block:
        kind, *labels, _, body, _ = children
        return nodes.Block(self._at(kind), str(kind), tuple(labels), body)

    def label(self, children: list[Any]) -> str:
        (label,) = children
        if isinstance(label, Token):
            return str(label)
        if isinstance(label, nodes.Literal) and isinstance(label.value, str):
            return label.value
        raise BakeSyntaxError("a label is plain text, without sequences", place=label.at)

    # -- operators ---------------------------------------------------------------------------

    def choice(self, children: list[Any]) -> Expression:
        condition, _, yes, _, no = children
        return nodes.Conditional(condition.at, condition, yes, no)

    def binary(self, children: list[Any]) -> Expression:
        left, operator, right = children
        return nodes.Binary(self._at(operator), str(operator), left, right)

    def unary_operation(self, children: list[Any]) -> Expression:
        operator, operand = children
        return nodes.Unary(self._at(operator), str(operator), operand)

    def steps(self, children: list[Any]) -> Expression:
        """Fold what follows a primary from the left; a splat takes the steps it may."""
        result, *rest = children
        while rest:
            kind, at, value = rest.pop(0)
            if kind.endswith("splat"):
                each: Expression = nodes.SplatItem(at)
                taken = ("attribute", "number") + (("index",) if kind == "full_splat" else ())
                while rest and rest[0][0] in taken:
                    each = _step(each, *rest.pop(0))
                result = nodes.Splat(at, result, each)
            else:
                result = _step(result, kind, at, value)
        return _expression(result)

    def attribute_step(self, children: list[Any]) -> tuple[str, Place, Any]:
        return ("attribute", self._at(children[1]), str(children[1]))

    def number_step(self, children: list[Any]) -> tuple[str, Place, Any]:
        return ("number", self._at(children[1]), self.number(children[1:]))

    def attribute_splat(self, children: list[Any]) -> tuple[str, Place, Any]:
        return ("attribute_splat", self._at(children[0]), None)

    def full_splat(self, children: list[Any]) -> tuple[str, Place, Any]:
        return ("full_splat", self._at(children[0]), None)

    def index_step(self, children: list[Any]) -> tuple[str, Place, Any]:
        return ("index", self._at(children[0]), children[1])

    # -- terms -------------------------------------------------------------------------------

    def number(self, children: list[Any]) -> Expression:
        return nodes.Literal(self._at(children[0]), Decimal(str(children[0])))

    def true(self, children: list[Any]) -> Expression:
        return nodes.Literal(self._at(children[0]), value=True)

    def false(self, children: list[Any]) -> Expression:
        return nodes.Literal(self._at(children[0]), value=False)

    def null(self, children: list[Any]) -> Expression:
        return nodes.Literal(self._at(children[0]), None)

    def variable(self, children: list[Any]) -> Expression:
        return nodes.Variable(self._at(children[0]), str(children[0]))

    def call(self, children: list[Any]) -> Expression:
        name, _, *rest = children
        arguments, spread = rest[0] if len(rest) == 2 else ((), False)
        return nodes.Call(self._at(name), str(name), arguments, spread)

    def arguments(self, children: list[Any]) -> Spread:
        spread = any(isinstance(one, Token) and one.type == "ELLIPSIS" for one in children)
        return _values(children), spread

    def parentheses(self, children: list[Any]) -> Expression:
        return nodes.Parentheses(self._at(children[0]), children[1])

    def sequence(self, children: list[Any]) -> Expression:
        return nodes.Tuple(self._at(children[0]), _values(children))

    def object(self, children: list[Any]) -> Expression:
        items = tuple(child for child in children if isinstance(child, list))
        return nodes.Object(self._at(children[0]), tuple((key, value) for key, value in items))

    def item(self, children: list[Any]) -> list[Expression]:
        key, _, value = children
        return [key, value]

    def names(self, children: list[Any]) -> tuple[str | None, str]:
        if len(children) == 1:
            return None, str(children[0])
        return str(children[0]), str(children[2])

    def guard(self, children: list[Any]) -> list[Expression]:
        return [children[1]]

    def for_tuple(self, children: list[Any]) -> Expression:
        opener, _, (key, value), _, collection, _, result, *rest = children
        guard = next((one[0] for one in rest if isinstance(one, list)), None)
        return nodes.For(
            self._at(opener), key, value, collection, None, result, guard, grouped=False
        )

    def for_object(self, children: list[Any]) -> Expression:
        opener, _, (key, value), _, collection, _, new_key, _, result, *rest = children
        guard = next((one[0] for one in rest if isinstance(one, list)), None)
        grouped = any(isinstance(one, Token) and one.type == "ELLIPSIS" for one in rest)
        return nodes.For(self._at(opener), key, value, collection, new_key, result, guard, grouped)

    # -- templates ---------------------------------------------------------------------------

    def quoted(self, children: list[Any]) -> Expression:
        return self._whole(children)

    def heredoc(self, children: list[Any]) -> Expression:
        return self._whole(children)

    def _whole(self, children: list[Any]) -> Expression:
        opener, template, _ = children
        return _plain(nodes.Template(self._at(opener), template.parts))

    def template(self, children: list[Any]) -> Template:
        return nodes.Template(self._first(children), tuple(children))

    def text(self, children: list[Any]) -> Expression:
        return nodes.Literal(self._at(children[0]), str(children[0]))

    def interpolation(self, children: list[Any]) -> Expression:
        return nodes.Parentheses(children[1].at, children[1])

    def template_if(self, children: list[Any]) -> Expression:
        opener, condition, _, yes, *rest = children
        no = rest[2] if len(rest) == 5 else nodes.Template(yes.at, ())
        return nodes.TemplateIf(self._at(opener), condition, yes, no)

    def template_for(self, children: list[Any]) -> Expression:
        opener, (key, value), _, collection, _, body, *_ = children
        return nodes.TemplateFor(self._at(opener), key, value, collection, body)


def _step(base: Expression, kind: str, at: Place, value: Any) -> Expression:
    if kind == "attribute":
        return nodes.Attribute(at, base, value)
    return nodes.Index(at, base, value)


def _values(children: list[Any]) -> tuple[Expression, ...]:
    return tuple(child for child in children if isinstance(child, nodes.Expression))


def _plain(template: Template) -> Expression:
    """A template of literal text alone is that text."""
    if all(isinstance(part, nodes.Literal) for part in template.parts):
        text = "".join(
            str(part.value) for part in template.parts if isinstance(part, nodes.Literal)
        )
        return nodes.Literal(template.at, text)
    return template
