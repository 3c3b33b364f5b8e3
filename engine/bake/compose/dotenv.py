"""``.env`` files: ``NAME=value`` lines, quotes, comments, and variables in values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.bake.compose.interpolate import interpolate
from engine.bake.errors import BakeError, BakeSyntaxError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE: Final = 1 << 20
"""Most bytes of a file."""

_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.-]*)[ \t]*
        (?:[=:][ \t]*(?:
            '(?P<single>[^']*)'
          | "(?P<double>(?:[^"\\]|\\.)*)"
          | (?P<bare>[^\n]*?)
        ))?[ \t]*(?:(?:^|(?<=[ \t'"]))\#[^\n]*)?(?:\n|$)""",
    re.VERBOSE | re.ASCII,
)
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str, environment: Mapping[str, str], where: str) -> dict[str, str]:
    """The variables that a file sets; values may use earlier ones and the environment.

    A name without a value takes the environment's.

    Raises:
        BakeError: a line that sets nothing.
    """
    found: dict[str, str] = {}
    text = text.replace("\r\n", "\n")
    position = 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank is not None and blank.end() > position:
            position = blank.end()
            continue
        match = _LINE.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise BakeSyntaxError("this line sets no variable", where=f"{where}:{line}")
        position = match.end()
        name, known = match["name"], {**found, **environment}
        if match["single"] is not None:
            found[name] = match["single"]
        elif match["double"] is not None:
            found[name] = interpolate(_unescape(match["double"]), known, where)
        elif match["bare"] is not None:
            found[name] = interpolate(match["bare"].strip(), known, where)
        elif name in environment:
            found[name] = environment[name]
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text, flags=re.DOTALL)


def read_dotenv(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file; raises BakeError when it cannot be read or is malformed."""
    try:
        with path.open("rb") as file:
            text = file.read(SIZE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BakeError(f"cannot be read: {error}", where=str(path)) from error
    return parse_dotenv(text, environment, str(path))
