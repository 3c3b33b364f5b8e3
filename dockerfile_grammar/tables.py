"""The grammar's tables as they are shipped: made once, since making them takes longer than reading
most Dockerfiles, and a machine that has parsed nothing would do so in its first build.

Tables that are missing, or of another grammar, are made in place.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

from dockerfile_grammar.automaton import Tables
from records import field_names, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ESCAPES: Final = {"\\": "backslash", "`": "backtick"}
"""A Dockerfile's escape characters, and what their files are named by."""
GRAMMAR: Final = "dockerfile.lark"
FORMAT: Final = 1


def load(escape: str, *, starts: Sequence[str]) -> Tables:
    """The tables for files with this escape character; ``starts`` are the start rules."""
    try:
        with open(_path(_here(), escape), encoding="utf-8") as file:
            if file.readline() == _head(starts):
                return Tables(**json.load(file))
    except (OSError, ValueError, TypeError):
        pass
    return _made(escape, starts)


def write(folder: Path, *, starts: Sequence[str]) -> None:
    """Write the tables of all escape characters into ``folder``."""
    for escape in ESCAPES:
        made = _made(escape, starts)
        document = dict(zip(field_names(Tables), values_of(made), strict=True))
        text = json.dumps(document, separators=(",", ":"))
        with open(_path(str(folder), escape), "w", encoding="ascii") as file:
            file.write(f"{_head(starts)}{text}\n")


def _made(escape: str, starts: Sequence[str]) -> Tables:
    from pathlib import Path

    from dockerfile_grammar.generate import generate

    return generate(Path(_here(), GRAMMAR), escape, starts)


def _here() -> str:
    return os.path.dirname(__file__)


def _path(folder: str, escape: str) -> str:
    return os.path.join(folder, f"tables.{ESCAPES.get(escape, 'unknown')}.json")


def _head(starts: Sequence[str]) -> str:
    """The line that says what tables are of."""
    with open(os.path.join(_here(), GRAMMAR), "rb") as file:
        grammar = hashlib.sha256(file.read()).hexdigest()
    return f"{FORMAT} {','.join(starts)} {grammar}\n"
