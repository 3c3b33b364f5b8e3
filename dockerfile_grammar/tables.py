"""The grammar's LALR tables as they are shipped: made once, since making them takes longer than
reading most Dockerfiles, and a machine that has parsed nothing would do so in its first build.

``python -m dockerfile_grammar.tables`` writes them anew after a change of the grammar. Tables that
another grammar or another lark was asked for are not used, and made in place.
"""

from __future__ import annotations

import hashlib
import io
import os
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Final

import lark
from lark import Lark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lark.lexer import TerminalDef

ESCAPES: Final = {"\\": "backslash", "`": "backtick"}
"""A Dockerfile's escape characters, and what their files are named by."""
GRAMMAR: Final = "dockerfile.lark"
_TEXT_FIELDS: Final = ("NAME", "VALUE")


def parser(escape: str, *, starts: Sequence[str]) -> Lark:
    """The parser for files with this escape character; ``starts`` are its start rules."""
    try:
        with open(_path(escape), "rb") as file:
            head = file.readline()
            if head == _head(escape, starts):
                return Lark.load(file)
    except (OSError, EOFError, KeyError, ValueError, UnpicklingError):
        pass
    return build(escape, starts=starts)


def build(escape: str, *, starts: Sequence[str]) -> Lark:
    """The same from the grammar itself."""
    made = Lark.open(
        GRAMMAR,
        rel_to=__file__,
        parser="lalr",
        start=list(starts),
        maybe_placeholders=False,
        propagate_positions=False,
        edit_terminals=None if escape == "\\" else _with_escape(escape),
    )
    # It has done its work, and cannot be written to a file.
    made.options.edit_terminals = None
    return made


def write(folder: Path, *, starts: Sequence[str]) -> None:
    """Write the tables of all escape characters into ``folder``."""
    for escape in ESCAPES:
        file = io.BytesIO(_head(escape, starts))
        file.seek(0, os.SEEK_END)
        build(escape, starts=starts).save(file)
        (folder / os.path.basename(_path(escape))).write_bytes(file.getvalue())


def _with_escape(escape: str) -> Callable[[TerminalDef], TerminalDef]:
    def edited(terminal: TerminalDef) -> TerminalDef:
        if terminal.name in _TEXT_FIELDS:
            terminal.pattern.value = terminal.pattern.value.replace("\\\\", escape)
        return terminal

    return edited


def _path(escape: str) -> str:
    name = ESCAPES.get(escape, "unknown")
    return os.path.join(os.path.dirname(__file__), f"tables.{name}.pickle")


def _head(escape: str, starts: Sequence[str]) -> bytes:
    """The line that says what tables are of."""
    with open(os.path.join(os.path.dirname(__file__), GRAMMAR), "rb") as file:
        grammar = hashlib.sha256(file.read()).hexdigest()
    return f"{escape} {','.join(starts)} {grammar} lark {lark.__version__}\n".encode()


if __name__ == "__main__":
    from pathlib import Path

    from dockerfile_grammar.syntax import STARTS

    write(Path(__file__).parent, starts=STARTS)
