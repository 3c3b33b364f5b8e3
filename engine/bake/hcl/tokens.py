"""From text to tokens, by hand: which newline counts and what a quote begins depends on the
brackets around it, which no regular grammar knows.

The rules are those of HCL's native syntax specification. Newlines end attributes and the items of
objects, and mean nothing within other brackets. The grammar gets keywords as kinds of their own
where they are keywords, so that ``for`` and ``if`` stay names elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.bake.errors import BakeLimitError, BakeSyntaxError
from engine.bake.source import Place, SourceFile

DEPTH: Final = 100
"""Brackets and quotes within one another."""

_NORMAL = re.compile(
    r"""
      (?P<SKIP>[ \t\r]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    | (?P<NEWLINE>\n)
    | (?P<HEREDOC><<-?[^\W\d][\w-]*[ \t]*\r?\n)
    | (?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<NAME>[^\W\d][\w-]*)
    | (?P<QUOTE>")
    | (?P<OPERATOR>\.\.\.|=>|==|!=|<=|>=|&&|\|\||~\}|[-+*/%!<>=?:,.()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_DIGITS = re.compile(r"[0-9]+")
_TEXT = {
    '"': re.compile(r'(?:[^"\\$%\n]|\\.|\$\$\{|%%\{|\$(?!\{)|%(?!\{))+', re.DOTALL),
    "": re.compile(r"(?:[^$%\n]|\$\$\{|%%\{|\$(?!\{)|%(?!\{))*\n?"),
}
_DIRECTIVE = re.compile(r"%\{~?[ \t\r\n]*([^\W\d][\w-]*)?")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.?))|(\$\$\{|%%\{)", re.DOTALL)
_LITERAL_OPENERS = re.compile(r"\$\$\{|%%\{")
_PLAIN_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_OPERATORS: Final = {
    "...": "ELLIPSIS", "=>": "ARROW", "==": "EQUAL", "!=": "UNEQUAL", "<=": "AT_MOST",
    ">=": "AT_LEAST", "&&": "AND", "||": "OR", "-": "MINUS", "+": "PLUS", "*": "STAR",
    "/": "SLASH", "%": "PERCENT", "!": "NOT", "<": "LESS", ">": "MORE", "=": "ASSIGN",
    "?": "QUESTION", ":": "COLON", ",": "COMMA", ".": "DOT",
}  # fmt: skip
_OPENERS: Final = {"(": "LPAR", "[": "LSQB"}
_CLOSERS: Final = {")": ("(", "RPAR"), "]": ("[", "RSQB")}
_CONSTANTS: Final = {"true": "TRUE", "false": "FALSE", "null": "NULL"}
_DIRECTIVES: Final = {
    "if": "IF_START", "else": "ELSE", "endif": "ENDIF", "for": "FOR_START", "endfor": "ENDFOR",
}  # fmt: skip


class Token(NamedTuple):
    """``kind`` is a terminal of the grammar; ``text`` is literal text with its escapes resolved."""

    kind: str
    text: str
    at: Place


@dataclass(slots=True)
class _Frame:
    """An open bracket, quote or template. ``kind`` is how it opened: ``{`` is an object,
    ``block`` a body, ``${`` a sequence of a template, ``<<`` a heredoc, ``text`` a whole template.
    """

    kind: str
    at: Place
    assigned: bool = False
    """In a body: an equals sign was seen in this line."""
    loop: str = ""
    """In a for expression: the keyword that is due, ``in`` or ``if``."""
    marker: str = ""
    """The word that ends a heredoc."""
    line_starts: list[int] | None = None
    """Of a heredoc whose indentation goes: which tokens begin a line."""


class Lexer:
    """Reads one text; ``begin`` is ``block`` for a file, ``text`` for a template, ``(`` for a
    single expression.

    ``at`` is where the text begins, for texts that stand in another file.
    """

    def __init__(self, file: SourceFile, text: str, begin: str, at: Place | None = None) -> None:
        self._file = file
        self._text = text
        self._position = 0
        self._fixed = at
        self._line, self._line_start = 1, 0
        self._frames = [_Frame(begin, self._place())]
        self._tokens: list[Token] = []
        self._trim = False

    def tokens(self) -> list[Token]:
        """All of them.

        Raises:
            BakeSyntaxError: a character that begins nothing, or a bracket that is not closed.
            BakeLimitError: too many brackets within one another.
        """
        while self._position < len(self._text):
            if self._frames[-1].kind in ('"', "<<", "text"):
                self._template()
            else:
                self._normal()
        last = self._frames[-1]
        if len(self._frames) > 1:
            what = {'"': "string", "<<": "heredoc", "${": "template sequence"}.get(last.kind)
            raise BakeSyntaxError(
                f"this {what or 'bracket'} is never closed", place=last.at, fix="close it"
            )
        return self._tokens

    # -- positions ---------------------------------------------------------------------------

    def _place(self) -> Place:
        if self._fixed is not None:
            return self._fixed
        return Place(self._file, self._line, self._position - self._line_start + 1)

    def _advance(self, end: int) -> str:
        """Take the text up to ``end``."""
        text = self._text[self._position : end]
        newlines = text.count("\n")
        if newlines:
            self._line += newlines
            self._line_start = self._position + text.rindex("\n") + 1
        self._position = end
        return text

    def _emit(self, kind: str, text: str, at: Place) -> None:
        self._tokens.append(Token(kind, text, at))

    def _push(self, frame: _Frame) -> None:
        if len(self._frames) >= DEPTH:
            raise BakeLimitError(f"more than {DEPTH} brackets within one another", place=frame.at)
        self._frames.append(frame)

    def _last(self) -> str:
        return self._tokens[-1].kind if self._tokens else ""

    # -- expressions and bodies --------------------------------------------------------------

    def _normal(self) -> None:
        at = self._place()
        pattern = _DIGITS if self._last() == "DOT" else _NORMAL
        match = pattern.match(self._text, self._position) or _NORMAL.match(
            self._text, self._position
        )
        if match is None:
            self._unknown(at)
            return
        kind = match.lastgroup or "NUMBER"
        text = self._advance(match.end())
        if kind == "NEWLINE":
            self._newline(at)
        elif kind == "HEREDOC":
            self._heredoc(text, at)
        elif kind == "QUOTE":
            self._emit("OPEN_QUOTE", text, at)
            self._push(_Frame('"', at))
        elif kind == "NAME":
            self._name(text, at)
        elif kind == "OPERATOR":
            self._operator(text, at)
        elif kind == "NUMBER":
            self._emit("NUMBER", text, at)

    def _unknown(self, at: Place) -> None:
        char = self._text[self._position]
        fix = {
            "'": "strings stand in double quotes",
            "&": "write && for a logical and",
            "|": "write || for a logical or",
            ";": "a newline ends an attribute",
        }.get(char)
        raise BakeSyntaxError(f"unexpected character {char!r}", place=at, fix=fix)

    def _newline(self, at: Place) -> None:
        frame = self._frames[-1]
        frame.assigned = False
        counts = frame.kind == "block" or (frame.kind == "{" and not frame.loop)
        if counts and self._last() not in ("", "NL", "OPEN_BLOCK", "OPEN_OBJECT", "COMMA"):
            self._emit("NL", "\n", at)

    def _name(self, text: str, at: Place) -> None:
        frame, last = self._frames[-1], self._last()
        kind = "NAME"
        if last == "DOT" or (frame.kind == "block" and not frame.assigned):
            pass
        elif text in _CONSTANTS:
            kind = _CONSTANTS[text]
        elif text == "for" and last in ("OPEN_OBJECT", "LSQB") and frame.kind in ("{", "["):
            kind, frame.loop = "FOR", "in"
        elif frame.loop and text == frame.loop:
            kind = text.upper()
            frame.loop = "if" if text == "in" else "done"
        self._emit(kind, text, at)

    def _operator(self, text: str, at: Place) -> None:
        frame = self._frames[-1]
        if text == "{":
            block = frame.kind == "block" and not frame.assigned
            self._emit("OPEN_BLOCK" if block else "OPEN_OBJECT", text, at)
            self._push(_Frame("block" if block else "{", at))
        elif text in ("}", "~}"):
            self._brace(frame, text, at)
        elif text in _OPENERS:
            self._emit(_OPENERS[text], text, at)
            self._push(_Frame(text, at))
        elif text in _CLOSERS:
            opener, kind = _CLOSERS[text]
            self._close(frame, opener, text, at)
            self._emit(kind, text, at)
        else:
            frame.assigned |= text == "="
            self._emit(_OPERATORS[text], text, at)

    def _brace(self, frame: _Frame, text: str, at: Place) -> None:
        if frame.kind == "block" and len(self._frames) > 1:
            self._close(frame, "block", text, at)
            self._emit("CLOSE_BLOCK", text, at)
        elif frame.kind == "${":
            self._close(frame, "${", text, at)
            self._emit("END_SEQUENCE", text, at)
            self._trim = text == "~}"
        else:
            self._close(frame, "{", text, at)
            self._emit("CLOSE_OBJECT", text, at)

    def _close(self, frame: _Frame, opener: str, text: str, at: Place) -> None:
        if len(self._frames) == 1:
            raise BakeSyntaxError(f"nothing is open that {text} could close", place=at)
        if frame.kind != opener:
            begin = frame.at
            raise BakeSyntaxError(
                f"{text} comes before what began in line {begin.line}, column {begin.column} is "
                "closed",
                place=at,
            )
        self._frames.pop()

    def _heredoc(self, text: str, at: Place) -> None:
        flush = text.startswith("<<-")
        marker = text.lstrip("<-").strip()
        self._emit("OPEN_HEREDOC", text, at)
        starts: list[int] | None = [] if flush else None
        self._push(_Frame("<<", at, marker=marker, line_starts=starts))

    # -- templates ---------------------------------------------------------------------------

    def _template(self) -> None:
        frame = self._frames[-1]
        at = self._place()
        text = self._text
        if frame.kind == "<<" and self._position == self._line_start and self._ends(frame):
            return
        if text.startswith("${", self._position):
            self._sequence("OPEN_INTERPOLATION", text.startswith("${~", self._position), 2, at)
        elif text.startswith("%{", self._position):
            self._directive(at)
        elif frame.kind == '"' and text[self._position] == '"':
            self._advance(self._position + 1)
            self._frames.pop()
            self._trim = False
            self._emit("CLOSE_QUOTE", '"', at)
        else:
            self._literal(frame, at)

    def _ends(self, frame: _Frame) -> bool:
        """Take a heredoc's last line, or note that a line begins."""
        end = self._text.find("\n", self._position)
        line = self._text[self._position : end if end >= 0 else len(self._text)]
        if line.strip() != frame.marker:
            if frame.line_starts is not None:
                frame.line_starts.append(len(self._tokens))
            return False
        at = self._place()
        self._advance(self._position + len(line.rstrip()))
        self._frames.pop()
        self._trim = False
        if frame.line_starts:
            self._outdent(frame.line_starts)
        self._emit("CLOSE_HEREDOC", frame.marker, at)
        return True

    def _outdent(self, starts: list[int]) -> None:
        """Take the smallest indentation of all lines from each; blank lines have no say."""
        lines = []
        for index in starts:
            token = self._tokens[index]
            text = token.text if token.kind == "TEXT" else ""
            if token.kind != "TEXT" or text.strip() or not text.endswith("\n"):
                lines.append((index, len(text) - len(text.lstrip())))
        least = min((spaces for _, spaces in lines), default=0)
        for index, _ in lines:
            token = self._tokens[index]
            if token.kind == "TEXT":
                self._tokens[index] = token._replace(text=token.text[least:])

    def _literal(self, frame: _Frame, at: Place) -> None:
        quoted = frame.kind == '"'
        match = _TEXT['"' if quoted else ""].match(self._text, self._position)
        if match is None or match.end() == self._position:
            raise BakeSyntaxError(
                "a string ends in the line it begins in",
                place=frame.at,
                fix="write \\n for a newline, or use a heredoc",
            )
        raw = self._advance(match.end())
        text = self._unescape(raw, at) if quoted else _LITERAL_OPENERS.sub(_shorten, raw)
        if self._trim:
            text, self._trim = text.lstrip(), False
        self._emit("TEXT", text, at)

    def _unescape(self, raw: str, at: Place) -> str:
        if "\\" not in raw and "{" not in raw:
            return raw

        def resolve(match: re.Match[str]) -> str:
            short, long, plain, opener = match.groups()
            if opener:
                return match.group()[1:]
            if short or long:
                number = int(short or long, 16)
                if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
                    return chr(number)
            elif plain in _PLAIN_ESCAPES:
                return _PLAIN_ESCAPES[plain]
            place = at._replace(column=at.column + match.start())
            raise BakeSyntaxError(
                f"{match.group()} is no escape sequence",
                place=place,
                fix='use \\n, \\r, \\t, \\", \\\\, \\uNNNN or \\UNNNNNNNN',
            )

        return _ESCAPE.sub(resolve, raw)

    def _directive(self, at: Place) -> None:
        match = _DIRECTIVE.match(self._text, self._position)
        assert match is not None
        kind = _DIRECTIVES.get(match.group(1) or "")
        if kind is None:
            raise BakeSyntaxError(
                f"{match.group(1) or '%{'} is no template directive",
                place=at,
                fix=f"use {', '.join(_DIRECTIVES)}; %%{{ stands for the characters %{{",
            )
        strips = self._text.startswith("%{~", self._position)
        self._sequence(kind, strips, len(match.group()), at)
        if kind == "FOR_START":
            self._frames[-1].loop = "in"

    def _sequence(self, kind: str, strips: bool, length: int, at: Place) -> None:  # noqa: FBT001
        self._advance(self._position + max(length, 3 if strips else 2))
        if strips and self._last() == "TEXT":
            last = self._tokens[-1]
            self._tokens[-1] = last._replace(text=last.text.rstrip())
        self._trim = False
        self._emit(kind, "", at)
        self._push(_Frame("${", at))


def _shorten(match: re.Match[str]) -> str:
    return match.group()[1:]
