"""Source excerpts: the lines at fault, marked the way BuildKit marks them, with a caret where the
column is known.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dockerfile_grammar.nodes import SourceRange

CONTEXT = 2
"""Lines shown before and after a marked range."""

RANGE_LIMIT = 12
"""Marked lines shown of one range; a long heredoc must not fill the terminal."""

WIDTH_LIMIT = 160
"""Characters shown of one line."""

_RULE = "-" * 20


def source_lines(source: bytes) -> list[str]:
    """The physical lines of a file, as the grammar counts them: only a line feed ends one."""
    lines = source.removeprefix(BOM_UTF8).decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def excerpt(
    filename: str,
    lines: Sequence[str],
    ranges: Iterable[SourceRange],
    *,
    caret: tuple[int, int] | None = None,
) -> str:
    """Render the marked ranges of a file.

    Args:
        filename: as the reader knows it.
        lines: the whole file, one item per physical line, without line ends.
        ranges: what to mark; unsorted and overlapping is fine.
        caret: line and column (both from 1) to point at.

    Returns:
        Lines joined by newlines: ``Dockerfile:3``, a rule, numbered lines with ``>>>``, a rule.
    """
    marked: set[int] = set()
    for span in ranges:
        marked.update(range(span.start, min(span.end, span.start + RANGE_LIMIT - 1) + 1))
    marked = {number for number in marked if 1 <= number <= len(lines)}
    if not marked:
        return filename
    out = [f"{filename}:{min(marked)}", _RULE]
    previous = 0
    for number in _shown(marked, len(lines)):
        if previous and number != previous + 1:
            out.append(" ... |")
        previous = number
        out.extend(_render(number, lines[number - 1], marked=number in marked, caret=caret))
    out.append(_RULE)
    return "\n".join(out)


def _shown(marked: set[int], count: int) -> list[int]:
    shown: set[int] = set()
    for number in marked:
        shown.update(range(max(1, number - CONTEXT), min(count, number + CONTEXT) + 1))
    return sorted(shown)


def _render(
    number: int, line: str, *, marked: bool, caret: tuple[int, int] | None
) -> Iterable[str]:
    line = line.rstrip("\r\n")
    column = caret[1] if caret is not None and caret[0] == number else None
    shift = max(0, column - WIDTH_LIMIT * 3 // 4) if column is not None else 0
    text = line[shift : shift + WIDTH_LIMIT].replace("\0", "\u2400")
    head = "..." if shift else ""
    tail = "..." if len(line) > shift + WIDTH_LIMIT else ""
    yield f" {number:3d} | {'>>>' if marked else '   '} {head}{text}{tail}".rstrip()
    if column is not None:
        # A tab stays a tab, so that the caret stands below its character at any tab width.
        indent = "".join("\t" if char == "\t" else " " for char in text[: column - 1 - shift])
        yield f"     |     {' ' * len(head)}{indent}^"
