"""Text of unknown origin made fit for a terminal: no control sequences, and known widths.

Step names come from Dockerfiles and logs from whatever a step runs, so both are hostile until they
have been through here. ECMA-48 for the sequences.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LINE_LIMIT: Final = 4096
"""Characters of a line that are looked at; no screen shows more."""
TAB: Final = 8
ELLIPSIS: Final = "…"

_SEQUENCE: Final = (
    r"\x1b\[[0-?]*[ -/]*[@-~]?"  # control sequences
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # strings: titles, links, images
    r"|\x1b[ -/]*[0-~]?"  # other escapes
    r"|\x9b[0-?]*[ -/]*[@-~]?"  # the same, as one character
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
)
_COLOUR: Final = r"\x1b\[[0-9;:]*m\Z"


def harmless(text: str, *, colours: bool = False) -> str:
    """One line without control sequences, and with blanks for what else cannot be printed.

    ``colours`` lets those through that change nothing but the look of characters.
    """
    text = text[:LINE_LIMIT]
    if text.isascii() and text.isprintable():
        return text
    import re  # a table of plain names does without

    if not colours:
        return _printable(re.sub(_SEQUENCE, "", text))
    kept, position = [], 0
    for match in re.finditer(_SEQUENCE, text):
        kept.append(_printable(text[position : match.start()]))
        kept.append(match[0] if re.match(_COLOUR, match[0]) else "")
        position = match.end()
    kept.append(_printable(text[position:]))
    return "".join(kept)


def last_overwrite(line: bytes) -> str:
    """A line as a terminal shows it in the end: what stands before a carriage return is gone."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return text.rpartition("\r")[2]


def cells(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, width: int) -> str:
    """``text`` in ``width`` columns at most; what is cut off leaves an ellipsis."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    if text.isascii():
        return text[: width - 1] + ELLIPSIS
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1) + ELLIPSIS


def pad(text: str, width: int) -> str:
    """``text`` in exactly ``width`` columns."""
    text = fit(text, width)
    return text + " " * (width - cells(text))


def _printable(text: str) -> str:
    text = text.expandtabs(TAB) if "\t" in text else text
    return "".join(char if char.isprintable() else " " for char in text)
