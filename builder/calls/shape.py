"""What the answers share: places, descriptions, the file itself, and columns of text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockerfile_grammar.nodes import SourceRange


def located(span: SourceRange) -> dict[str, Any]:
    """A place as BuildKit writes it."""
    return {"ranges": [{"start": {"line": span.start}, "end": {"line": span.end}}]}


def source_of(dockerfile: bytes) -> str:
    """The file as JSON carries bytes."""
    return base64.b64encode(dockerfile).decode()


def described(comments: Iterable[str], name: str) -> str:
    """What the comments above an instruction say of a name: ``# name what it is``."""
    for line in comments if name else ():
        if line.startswith(f"{name} "):
            return line.removeprefix(f"{name} ")
    return ""


def columns(rows: Sequence[Sequence[str]], *, gap: int) -> str:
    """Rows with all columns but the last padded to the widest of their cells and ``gap`` blanks."""
    widths = [max(map(len, column)) + gap for column in list(zip(*rows, strict=True))[:-1]]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append("".join([*padded, row[-1]]))
    return "".join(f"{line}\n" for line in lines)
