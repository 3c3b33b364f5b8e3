"""The part of Go's text/template that ``--format`` users write.

Text, ``{{.Field.Sub}}``, pipelines, literals, ``if``/``else``/``range``/``with``/``end``, trim
markers, and the functions in ``FUNCTIONS``.
Go's text/template package documentation; docker/cli templates package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from images.errors import InputError


class TemplateError(InputError):
    """The template is malformed or asks for a field that is not there."""

    code = "template"


_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<field>(?:\.[A-Za-z_][\w]*)+|\.)|(?P<word>[A-Za-z_]\w*)|(?P<punct>[()|]))"""
)
_FIELD = re.compile(r"\.([A-Za-z_]\w*)")

Expression: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template."""

    parts: tuple[Expression, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Compile.

        Raises:
            TemplateError: unbalanced actions, unknown functions or unreadable expressions.
        """
        parser = _Parser(_split(text.replace("\\t", "\t").replace("\\n", "\n")))
        parts, stop = parser.block(())
        if stop:
            raise TemplateError(f"unexpected {{{{{stop}}}}} in template")
        return cls(parts)

    def render(self, data: Any) -> str:
        """Apply to ``data`` (mappings and sequences)."""
        return _concatenate(self.parts, data)


def field_names(text: str) -> list[str]:
    """The top-level fields a template mentions, for column titles."""
    return _FIELD.findall(text)


def _concatenate(parts: tuple[Expression, ...], data: Any) -> str:
    return "".join(_text(part(data)) for part in parts)


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + " ".join(_text(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{_text(value[k])}" for k in sorted(value)) + "]"
    return str(value)


def _split(text: str) -> list[tuple[bool, str]]:
    """Cut into (is_action, text), with trim markers applied."""
    pieces: list[tuple[bool, str]] = []
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        literal = text[position : match.start()]
        if trim:
            literal = literal.lstrip()
        if match[1]:
            literal = literal.rstrip()
        pieces += [(False, literal), (True, match[2].strip())]
        position, trim = match.end(), bool(match[3])
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError("unclosed action", where=text)
    pieces.append((False, rest.lstrip() if trim else rest))
    return pieces


def _literal(text: str) -> Expression:
    return lambda _data: text


class _Parser:
    """Recursive descent over the pieces."""

    def __init__(self, pieces: list[tuple[bool, str]]) -> None:
        self._pieces = pieces
        self._next = 0

    def block(self, stops: tuple[str, ...]) -> tuple[tuple[Expression, ...], str]:
        """Parse up to one of the stop words; returns the parts and the word that stopped it."""
        parts: list[Expression] = []
        while self._next < len(self._pieces):
            is_action, text = self._pieces[self._next]
            self._next += 1
            if not is_action:
                parts.append(_literal(text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                if word not in stops:
                    return tuple(parts), word
                return tuple(parts), text
            parts.append(self._action(word, rest, text))
        if stops:
            raise TemplateError("template ends before {{end}}")
        return tuple(parts), ""

    def _action(self, word: str, rest: str, text: str) -> Expression:
        if text.startswith("/*"):
            return lambda _data: ""
        if word not in ("if", "range", "with"):
            return pipeline(text)
        body, stop = self.block(("end", "else"))
        other: tuple[Expression, ...] = ()
        if stop == "else":
            other, stop = self.block(("end",))
        elif stop.startswith("else "):
            nested_word, _, nested_rest = stop.removeprefix("else ").partition(" ")
            other = (self._action(nested_word, nested_rest, stop.removeprefix("else ")),)
        return _control(word, pipeline(rest), body, other)


def _control(
    word: str, test: Expression, body: tuple[Expression, ...], other: tuple[Expression, ...]
) -> Expression:
    def run(data: Any) -> str:
        value = test(data)
        if not value:
            return _concatenate(other, data)
        if word == "if":
            return _concatenate(body, data)
        if word == "with":
            return _concatenate(body, value)
        items = value.values() if isinstance(value, Mapping) else value
        return "".join(_concatenate(body, item) for item in items)

    return run


def pipeline(text: str) -> Expression:
    """Compile ``a | f x | g`` to a function of the data."""
    tokens = _tokens(text)
    expression, position = _pipeline(tokens, 0)
    if position != len(tokens):
        raise TemplateError(f"cannot read {text!r} in template")
    return expression


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise TemplateError(f"cannot read {text[position:].strip()!r} in template")
        kind = match.lastgroup
        # With no blank between, a field is one of what the parentheses hold, not a new argument.
        if kind == "field" and tokens and tokens[-1][1] == ")" and match.start(kind) == position:
            kind = "of"
        tokens.append((kind, match[match.lastgroup]))
        position = match.end()
    return tokens


def _pipeline(tokens: list[tuple[str, str]], position: int) -> tuple[Expression, int]:
    expression, position = _call(tokens, position, piped=None)
    while position < len(tokens) and tokens[position][1] == "|":
        expression, position = _call(tokens, position + 1, piped=expression)
    return expression, position


def _call(
    tokens: list[tuple[str, str]], position: int, *, piped: Expression | None
) -> tuple[Expression, int]:
    if position >= len(tokens):
        raise TemplateError("missing value in template")
    kind, text = tokens[position]
    if kind != "word" or text in ("true", "false", "nil"):
        return _operand(tokens, position)
    function = FUNCTIONS.get(text)
    if function is None:
        raise TemplateError(
            f'function "{text}" not defined', fix=f"known functions: {', '.join(sorted(FUNCTIONS))}"
        )
    position += 1
    arguments: list[Expression] = []
    while position < len(tokens) and tokens[position][1] not in ("|", ")"):
        argument, position = _operand(tokens, position)
        arguments.append(argument)
    if piped is not None:
        arguments.append(piped)

    def run(data: Any) -> Any:
        try:
            return function(*(argument(data) for argument in arguments))
        except (TypeError, IndexError, KeyError, ValueError) as error:
            raise TemplateError(f"error calling {text}: {error}") from error

    return run, position


def _operand(tokens: list[tuple[str, str]], position: int) -> tuple[Expression, int]:
    kind, text = tokens[position]
    if kind == "punct" and text == "(":
        expression, position = _pipeline(tokens, position + 1)
        if position >= len(tokens) or tokens[position][1] != ")":
            raise TemplateError("missing ) in template")
        if position + 1 < len(tokens) and tokens[position + 1][0] == "of":
            return _of(expression, tokens[position + 1][1]), position + 2
        return expression, position + 1
    if kind == "field":
        names = [name for name in text.split(".") if name]
        return (lambda data: _field(data, names)), position + 1
    if kind == "word":
        constants = {"true": True, "false": False, "nil": None}
        if text not in constants:
            raise TemplateError(f'function "{text}" not defined')
        return (lambda _data: constants[text]), position + 1
    if kind in ("string", "number"):
        value = text[1:-1] if text.startswith("`") else json.loads(text)
        return (lambda _data: value), position + 1
    raise TemplateError(f"unexpected {text!r} in template")


def _of(expression: Expression, path: str) -> Expression:
    """A field of what an expression in parentheses comes to."""
    names = [name for name in path.split(".") if name]
    return lambda data: _field(expression(data), names)


def _field(data: Any, names: list[str]) -> Any:
    for name in names:
        if data is None:
            return None
        if not isinstance(data, Mapping):
            raise TemplateError(f"can't evaluate field {name} in {type(data).__name__}")
        if name not in data:
            from dockerfile_grammar.suggest import nearest

            near = nearest(name, data)
            raise TemplateError(
                f"template has no field .{name}",
                fix=f"did you mean .{near}?" if near else f"fields: {', '.join(sorted(data))}",
            )
        data = data[name]
    return data


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str, ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else value[key]
    return value


def _pad(value: str, before: int, after: int) -> str:
    return " " * before + value + " " * after if value else value


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "and": lambda *values: next((v for v in values if not v), values[-1]),
    "eq": lambda first, *others: any(first == other for other in others),
    "index": _index,
    "join": lambda values, separator: separator.join(str(value) for value in values or ()),
    "json": _json,
    "len": len,
    "lower": lambda value: str(value).lower(),
    "ne": lambda first, second: first != second,
    "not": lambda value: not value,
    "or": lambda *values: next((v for v in values if v), values[-1]),
    "pad": _pad,
    "printf": lambda text, *values: re.sub(r"%[vqd]", "%s", text) % values,
    "println": lambda *values: " ".join(_text(value) for value in values) + "\n",
    "slice": lambda value, start, end=None: value[start:end],
    "split": lambda text, separator: text.split(separator),
    "title": lambda value: str(value).title(),
    "truncate": lambda text, length: text[:length],
    "upper": lambda value: str(value).upper(),
}
