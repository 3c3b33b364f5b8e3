"""From a logical line to a statement: keyword, flags, arguments. An automaton does the reading.

``dockerfile.lark`` holds one start rule per argument shape. A statement keeps words as they are
written; ``instructions`` gives them their types.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from dockerfile_grammar import tables
from dockerfile_grammar.automaton import Automaton, Mismatch
from dockerfile_grammar.errors import MountError, SyntaxFault
from dockerfile_grammar.nodes import KeyValue
from dockerfile_grammar.quoting import quoted
from dockerfile_grammar.suggest import nearest, with_suggestion
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockerfile_grammar.automaton import Token

SHAPES: Mapping[str, tuple[str, ...]] = {
    "ADD": ("paths", "plain_paths"),
    "ARG": ("declarations",),
    "CMD": ("command", "text"),
    "COPY": ("paths", "plain_paths"),
    "ENTRYPOINT": ("command", "text"),
    "ENV": ("pairs",),
    "EXPOSE": ("plain_paths",),
    "FROM": ("from",),
    "HEALTHCHECK": ("health", "plain_health"),
    "LABEL": ("pairs",),
    "MAINTAINER": ("text",),
    "ONBUILD": ("text",),
    "RUN": ("command", "text"),
    "SHELL": ("command", "text"),
    "STOPSIGNAL": ("text",),
    "USER": ("text",),
    "VOLUME": ("paths", "plain_paths"),
    "WORKDIR": ("text",),
}
"""Every keyword with the grammar's start rules for its arguments, in the order they are tried."""

STARTS = sorted({"flags", "mount"}.union(*SHAPES.values()))
"""All start rules."""

_KEYWORD = re.compile(r"[^\t\v\f\r ]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Flag(Record):
    """``--name`` or ``--name=value`` with its quotes removed; ``value`` is None without ``=``."""

    name: str
    value: str | None
    offset: int


class Arguments(Record):
    """What stands after the flags: words or pairs, and where each word begins in the line."""

    words: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    json: bool = False
    """The words, or those of a HEALTHCHECK after its type, came from a JSON array."""
    pairs: tuple[KeyValue, ...] = ()


class Statement(Record):
    """One instruction as written. Offsets count from the start of the logical line."""

    keyword: str
    flags: tuple[Flag, ...]
    arguments: Arguments
    text: str
    """The instruction's whole text, its own keyword first."""
    offset: int
    """Where ``text`` begins; not 0 for the instruction inside an ONBUILD."""

    @property
    def name(self) -> str:
        """The keyword in upper case."""
        return self.keyword.upper()


def read_statement(text: str, *, escape: str, offset: int = 0) -> Statement:
    """Read one instruction.

    Args:
        text: the logical line, or an ONBUILD's trigger.
        escape: the file's escape character.
        offset: where ``text`` begins in its logical line; added to every offset.

    Raises:
        SyntaxFault: an unknown keyword, or arguments that do not have its shape.
    """
    head = _KEYWORD.search(text)
    keyword = head.group() if head else ""
    shapes = SHAPES.get(keyword.upper())
    if shapes is None:
        found = nearest(keyword, SHAPES)
        raise SyntaxFault(
            with_suggestion(f"unknown instruction: {keyword}", keyword.upper(), SHAPES),
            code="dockerfile-unknown-instruction",
            fix=f"write {found}" if found else f"use one of {', '.join(SHAPES)}",
            offset=offset + (head.start() if head else 0),
        )
    end = head.end() if head else 0
    body = text[end:].strip()
    start = offset + text.find(body, end) if body else offset + len(text.rstrip())
    flags, body, start = _split_flags(body, start, escape)
    arguments = _read_arguments(keyword.upper(), shapes, body, start, escape)
    return Statement(keyword, flags, arguments, text, offset)


def read_mount(value: str, *, offset: int | None = None) -> tuple[tuple[str, str | None], ...]:
    """Read the value of one ``RUN --mount``: options in the order written, bare keys with None.

    Raises:
        MountError: a quote in the wrong place.
    """
    try:
        fields = cast("list[str]", _parser("\\").parse(value, start="mount"))
    except Mismatch as error:
        raise MountError(
            f'invalid mount {quoted(value)}: bare " in non-quoted field',
            offset=offset,
            fix='quote the whole field: "key=value"',
        ) from error
    options: list[tuple[str, str | None]] = []
    for field in fields:
        key, equal, item = field.partition("=")
        options.append((key, item if equal else None))
    return tuple(options)


def unquote_flag(written: str) -> str:
    r"""Remove quotes and escapes from a flag; in both kinds of quotes ``\`` keeps the next
    character.
    """
    out: list[str] = []
    quote = ""
    chars = iter(written)
    for char in chars:
        if char == "\\":
            out.append(next(chars, ""))
        elif quote:
            if char == quote:
                quote = ""
            else:
                out.append(char)
        elif char in "'\"":
            quote = char
        else:
            out.append(char)
    return "".join(out)


class _Values:
    """What each rule's match is worth; every value is plain."""

    def flags(self, children: list[Token]) -> list[Token]:
        return children

    def words(self, children: list[Token]) -> Arguments:
        return Arguments(tuple(map(str, children)), tuple(item.start for item in children))

    def json(self, children: list[Token]) -> Arguments:
        """Between the brackets stand strings, commas, and the first token of each value of another
        type.
        """
        strings: list[Token] = []
        for child in children[1:-1]:
            if child.type == "STRING":
                strings.append(child)
            elif child.type != "COMMA":
                raise SyntaxFault(
                    "when using JSON array syntax, arrays must be comprised of strings only",
                    code="dockerfile-json",
                    fix='put every element in double quotes: ["a", "b"]',
                    offset=child.start,
                )
        return Arguments(
            tuple(map(_decode_string, strings)),
            tuple(item.start for item in strings),
            json=True,
        )

    def other(self, children: list[Token]) -> Token:
        """A JSON value that is no string, known by its first token."""
        return children[0]

    def member(self, children: list[Token]) -> Token:
        """A member of a JSON object."""
        return children[0]

    def command(self, children: list[Arguments | Token]) -> Arguments:
        if not children:
            return Arguments()
        first = children[0]
        if isinstance(first, Arguments):
            return first
        return Arguments((str(first),), (first.start,))

    text = paths = plain_paths = command

    def pair(self, children: list[Token]) -> tuple[KeyValue, int]:
        name = value = ""
        offset = children[0].start
        for child in children:
            if child.type == "NAME":
                name = str(child)
            elif child.type == "VALUE":
                value = str(child)
        return KeyValue(name, value), offset

    def legacy(self, children: list[Token]) -> tuple[KeyValue, int]:
        return KeyValue(str(children[0]), str(children[1]), legacy=True), children[0].start

    def declaration(self, children: list[Token]) -> tuple[KeyValue, int]:
        if len(children) == 1 and children[0].type == "NAME":
            return KeyValue(str(children[0]), None), children[0].start
        return self.pair(children)

    def pairs(self, children: list[tuple[KeyValue, int]]) -> Arguments:
        return Arguments(
            pairs=tuple(pair for pair, _ in children), offsets=tuple(start for _, start in children)
        )

    declarations = pairs

    def health(self, children: list[Token | Arguments]) -> Arguments:
        words: list[str] = []
        offsets: list[int] = []
        in_json = False
        for child in children:
            if isinstance(child, Arguments):
                in_json = True
                words += child.words
                offsets += child.offsets
            else:
                words.append(str(child))
                offsets.append(child.start)
        return Arguments(tuple(words), tuple(offsets), json=in_json)

    plain_health = health

    def field(self, children: list[Token]) -> str:
        if not children:
            return ""
        text = str(children[0])
        return text[1:-1].replace('""', '"') if children[0].type == "QUOTED_FIELD" else text

    def mount(self, children: list[str]) -> list[str]:
        return children


# "from" is a keyword of Python, so this method cannot be written as the others are.
setattr(_Values, "from", _Values.words)


@lru_cache(maxsize=2)
def _parser(escape: str) -> Automaton:
    return Automaton(tables.load(escape, starts=STARTS), _Values())


def _split_flags(body: str, start: int, escape: str) -> tuple[tuple[Flag, ...], str, int]:
    """Cut the flags off; return them with the rest and where the rest begins."""
    if not body.startswith("--"):
        return (), body, start
    flags: list[Flag] = []
    rest, rest_start = "", start + len(body)
    for token in cast("list[Token]", _parser(escape).parse(body, start="flags")):
        position = token.start
        if token.type == "REST":
            rest, rest_start = str(token), start + position
            break
        written = unquote_flag(token.rstrip())
        name, equal, value = written.removeprefix("--").partition("=")
        flags.append(Flag(name, value if equal else None, start + position))
    return tuple(flags), rest, rest_start


def _read_arguments(
    keyword: str, shapes: tuple[str, ...], body: str, start: int, escape: str
) -> Arguments:
    parser = _parser(escape)
    for shape in shapes:
        try:
            found = cast("Arguments", parser.parse(body, start=shape))
        except Mismatch as error:
            if shape == shapes[-1]:
                raise _fault(keyword, body, start, error) from error
        except SyntaxFault as fault:
            fault.offset = start + (fault.offset or 0)
            raise
        else:
            return Arguments(
                found.words,
                tuple(start + position for position in found.offsets),
                found.json,
                found.pairs,
            )
    raise AssertionError(f"{keyword} has no argument shape")


def _fault(keyword: str, body: str, start: int, error: Mismatch) -> SyntaxFault:
    """Say in BuildKit's words what is wrong."""
    position = error.position or 0
    expected = error.expected
    if keyword == "FROM":
        return SyntaxFault(
            "FROM requires either one or three arguments",
            code="dockerfile-arguments",
            fix="write FROM image or FROM image AS name",
            offset=start + position,
        )
    if "_BLANKS" in expected and "EQUAL" in expected:
        return SyntaxFault(
            f"{keyword} must have two arguments",
            code="dockerfile-arguments",
            fix=f"write {keyword} name=value",
            offset=start,
        )
    word_start = _word_start(body, position)
    word = body[word_start:].split()[0] if body[word_start:].strip() else ""
    return SyntaxFault(
        f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value",
        code="dockerfile-arguments",
        fix="quote the value where it holds blanks",
        offset=start + word_start,
    )


def _word_start(body: str, position: int) -> int:
    """Where the word that ends at or holds ``position`` begins."""
    begin = min(position, len(body) - 1)
    while begin > 0 and body[begin].isspace():
        begin -= 1
    while begin > 0 and not body[begin - 1].isspace():
        begin -= 1
    return begin


def _decode_string(token: Token) -> str:
    # An escape may name half of a surrogate pair, which no UTF-8 can hold; Go writes U+FFFD for it.
    return _SURROGATE.sub("\ufffd", str(json.loads(token)))
