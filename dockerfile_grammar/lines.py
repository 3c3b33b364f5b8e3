"""Physical lines to logical lines: byte order mark, line ends, comments, continuations, heredoc
bodies.

Line structure comes before the grammar because it is context sensitive: an ``# escape=`` directive
changes which lines continue, and a heredoc's delimiter changes where instructions begin again. The
result is a list of logical lines, each of which the grammar reads by itself. Every character can be
traced to its place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.heredocs import Opening, openings
from dockerfile_grammar.nodes import Directive, Heredoc, SourceRange
from records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_LIMIT = 65535
"""Bytes in one physical line, its end not counted."""

SOURCE_LIMIT = 16 << 20
"""Bytes in one file."""

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_CONTINUED = {
    "\\": re.compile(r"(?:(?<=[^\\])|^)\\[ \t]*$"),
    "`": re.compile(r"(?:(?<=[^`])|^)`[ \t]*$"),
}


class Piece(Record):
    """From ``offset`` on, a logical line's text was written at this line and column (from 1)."""

    offset: int
    line: int
    column: int


class LogicalLine(Record):
    """One instruction's text, continuations joined, with everything that belongs to it."""

    text: str
    range: SourceRange
    pieces: tuple[Piece, ...]
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    empty_continuation: bool = False
    """A blank line stood inside the continuation."""

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of the character at ``offset``."""
        index = bisect_right(self.pieces, offset, key=lambda piece: piece.offset) - 1
        piece = self.pieces[max(0, index)]
        return piece.line, piece.column + offset - piece.offset


class Source(Record):
    """A file cut into lines."""

    filename: str
    physical: tuple[str, ...]
    """Without the line feeds; a carriage return stays."""
    escape: str
    directives: tuple[Directive, ...]
    lines: tuple[LogicalLine, ...]


def read_source(source: bytes | str, *, filename: str) -> Source:
    """Cut a file into logical lines.

    Raises:
        DockerfileError: not UTF-8, a NUL, a limit, a bad directive, an unterminated heredoc, no
            instruction.
    """
    text = _decode(source, filename)
    physical = text.split("\n")
    if physical[-1] == "":
        physical.pop()
    _check_limits(text, physical, filename)
    directives, first = _directives(physical, filename)
    escape = next((item.value for item in directives if item.name == "escape"), "\\")
    lines = _Reader(filename, physical, escape, first).read()
    if not lines:
        what = "file with no instructions" if physical else "the Dockerfile cannot be empty"
        raise DockerfileError(
            what,
            filename=filename,
            lines=physical,
            range=SourceRange(0, 0),
            code="dockerfile-empty",
            fix="start with FROM",
        )
    return Source(filename, tuple(physical), escape, directives, tuple(lines))


def _decode(source: bytes | str, filename: str) -> str:
    if isinstance(source, str):
        return source.removeprefix("\ufeff")
    data = source.removeprefix(b"\xef\xbb\xbf")
    if len(data) > SOURCE_LIMIT:
        raise DockerfileError(
            f"dockerfile greater than max allowed size of {SOURCE_LIMIT}",
            filename=filename,
            lines=(),
            range=SourceRange(0, 0),
            code="dockerfile-limit",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        raise DockerfileError(
            f"invalid UTF-8: byte 0x{data[error.start]:02x}",
            filename=filename,
            lines=data.decode(errors="replace").split("\n"),
            range=SourceRange(number, number),
            caret=(number, column),
            code="dockerfile-encoding",
            fix="save the file as UTF-8",
        ) from error


def _check_limits(text: str, physical: Sequence[str], filename: str) -> None:
    nul = text.find("\0")
    if nul >= 0:
        number = text.count("\n", 0, nul) + 1
        raise DockerfileError(
            "invalid character NUL",
            filename=filename,
            lines=physical,
            range=SourceRange(number, number),
            caret=(number, nul - text.rfind("\n", 0, nul)),
            code="dockerfile-encoding",
            fix="remove the NUL character",
        )
    for number, line in enumerate(physical, start=1):
        if len(line) * 4 > LINE_LIMIT and len(line.encode(errors="replace")) > LINE_LIMIT:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {LINE_LIMIT}",
                filename=filename,
                lines=physical,
                range=SourceRange(number, number),
                code="dockerfile-limit",
                fix="break the line with the escape character",
            )


def _directives(physical: Sequence[str], filename: str) -> tuple[tuple[Directive, ...], int]:
    """The directives at the top, and the index of the first line after them."""
    found: dict[str, Directive] = {}
    for index, line in enumerate(physical):
        match = _DIRECTIVE.match(line.lstrip().rstrip("\r"))
        name = _directive_name(match[1]) if match else None
        if match is None or name is None:
            return tuple(found.values()), index
        value = match[2]
        if name in found:
            problem, fix = f"only one {name} parser directive can be used", "remove this line"
        elif name == "escape" and value not in _CONTINUED:
            problem = f"invalid escape token '{value}' does not match ` or \\"
            fix = "write # escape=\\ or # escape=`"
        else:
            found[name] = Directive(name, value, index + 1)
            continue
        raise DockerfileError(
            problem,
            filename=filename,
            lines=physical,
            range=SourceRange(index + 1, index + 1),
            caret=(index + 1, line.index(value, line.index("=")) + 1),
            fix=fix,
            code="dockerfile-directive",
        )
    return tuple(found.values()), len(physical)


def _directive_name(written: str) -> Literal["syntax", "escape", "check"] | None:
    """The directive of a comment ``# written=...``; an unknown key is an ordinary comment."""
    match written.lower():
        case "syntax" | "escape" | "check" as name:
            return name
    return None


class _Reader:
    """Walks the physical lines once."""

    def __init__(self, filename: str, physical: Sequence[str], escape: str, first: int) -> None:
        self._filename = filename
        self._physical = physical
        self._continued = _CONTINUED[escape]
        self._index = first

    def read(self) -> list[LogicalLine]:
        lines: list[LogicalLine] = []
        comments: list[str] = []
        while self._index < len(self._physical):
            written = self._physical[self._index]
            stripped = written.lstrip()
            if stripped.startswith("#"):
                comments.append(stripped[1:].strip())
                self._index += 1
            elif not stripped:
                comments.clear()
                self._index += 1
            else:
                line = self._instruction(tuple(comments))
                comments.clear()
                if line.text.strip():
                    lines.append(line)
        return lines

    def _instruction(self, comments: tuple[str, ...]) -> LogicalLine:
        """Read one instruction with its continuations and heredocs; the reader stands on its first
        line.
        """
        start = self._index
        texts: list[str] = []
        pieces: list[Piece] = []
        empty = False
        offset = 0
        while self._index < len(self._physical):
            written = self._physical[self._index].rstrip("\r")
            self._index += 1
            stripped = written.lstrip()
            if texts or self._index > start + 1:
                if stripped.startswith("#"):
                    continue
                if not stripped:
                    empty = True
                    continue
                text = written
            else:
                text = stripped
            pieces.append(Piece(offset, self._index, len(written) - len(text) + 1))
            continued = self._continued.search(text)
            text = text[: continued.start()] if continued else text
            texts.append(text)
            offset += len(text)
            if continued is None:
                break
        text = "".join(texts)
        heredocs = tuple(self._body(opening, start) for opening in openings(text))
        return LogicalLine(
            text, SourceRange(start + 1, self._index), tuple(pieces), comments, heredocs, empty
        )

    def _body(self, opening: Opening, start: int) -> Heredoc:
        begin = self._index
        for index in range(begin, len(self._physical)):
            line = self._physical[index].rstrip("\r")
            if (line.lstrip("\t") if opening.chomp else line) == opening.name:
                self._index = index + 1
                content = "".join(f"{item}\n" for item in self._physical[begin:index])
                return Heredoc(
                    opening.name, content, opening.expand, opening.chomp, opening.file_descriptor
                )
        raise DockerfileError(
            "unterminated heredoc",
            filename=self._filename,
            lines=self._physical,
            range=SourceRange(start + 1, len(self._physical)),
            fix=f"end it with a line that holds {opening.name} alone",
            code="dockerfile-heredoc",
        )
