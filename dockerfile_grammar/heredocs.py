"""Where a line opens here-documents, and how each is to be read.

Dockerfile reference, "Here-Documents". Only RUN, COPY and ADD have them, and ONBUILD of those. An
opening is a word of its own that is ``<<`` and a delimiter, perhaps after a file descriptor and
with a ``-``; a word that was quoted whole is none.
"""

from __future__ import annotations

import re

from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import raw_words
from records import Record

KEYWORDS = frozenset({"RUN", "COPY", "ADD"})

_OPENING = re.compile(r"(\d*)<<(-?)\s*([^<]+)\Z")
_QUOTED = re.compile(r"""['"\\]""")
_UNQUOTE = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)""", re.DOTALL)
_ESCAPED = re.compile(r'\\(["$\\])')


class Opening(Record):
    """One ``<<WORD``: delimiter without quotes, and what its quotes and dash mean."""

    name: str
    expand: bool
    chomp: bool
    file_descriptor: int


def openings(line: str) -> list[Opening]:
    """The here-documents that an instruction opens, in order; ``line`` begins with its keyword."""
    if "<<" not in line or not _may_open(line):
        return []
    try:
        words = raw_words(line)
    except ExpansionError:
        # The shell will say what is wrong with these quotes, not we.
        return []
    return [opening for word in words if (opening := parse_opening(word)) is not None]


def parse_opening(word: str) -> Opening | None:
    """Read one written word; None where it opens no here-document."""
    match = _OPENING.match(word)
    if match is None:
        return None
    descriptor, dash, delimiter = match.groups()
    quoted = _QUOTED.search(delimiter) is not None
    name = _unquote(delimiter) if quoted else delimiter
    if not name or any(char.isspace() for char in name):
        return None
    return Opening(name, not quoted, bool(dash), int(descriptor) if descriptor else 0)


def _may_open(line: str) -> bool:
    words = line.split(None, 2)
    keyword = words[0].upper()
    if keyword == "ONBUILD" and len(words) > 1:
        keyword = words[1].upper()
    return keyword in KEYWORDS


def _unquote(delimiter: str) -> str:
    out: list[str] = []
    for single, double, escaped, plain in _UNQUOTE.findall(delimiter):
        out += (single, _ESCAPED.sub(r"\1", double), escaped, plain)
    return "".join(out)
