"""Colours of the live table, as BuildKit takes them from the environment.

``BUILDKIT_COLORS=run=green:warning=yellow:error=red:cancel=cyan``, a name below or ``R,G,B``; a
NO_COLOR that is not empty means none (https://no-color.org). What cannot be read is passed over,
because a colour is no reason to refuse a build.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_NAMES: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
"""In the order of ECMA-48's parameters 30 to 37; ``light-`` ones are 60 higher."""
_RESET: Final = "\x1b[0m"


class Palette(Record):
    """Parameters of Select Graphic Rendition (ECMA-48 8.3.117); empty for no colour."""

    run: str = "34"
    warning: str = "33"
    error: str = "31"
    cancel: str = "33"
    dim: str = "2"
    bold: str = "1"

    def paint(self, text: str, style: str) -> str:
        """``text`` in the colour that a field of this palette names; ``""`` is none."""
        code = getattr(self, style) if style else ""
        return f"\x1b[{code}m{text}{_RESET}" if code else text


PLAIN: Final = Palette("", "", "", "", "", "")


def palette_of(environment: Mapping[str, str]) -> Palette:
    """The colours that the environment asks for."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return PLAIN
    chosen = {}
    for part in environment.get("BUILDKIT_COLORS", "").split(":"):
        name, _, value = part.partition("=")
        code = _code(value.strip().lower())
        if name in ("run", "warning", "error", "cancel") and code is not None:
            chosen[name] = code
    return Palette(**chosen)


def _code(value: str) -> str | None:
    light = value.startswith("light-")
    name = value.removeprefix("light-")
    if name in _NAMES:
        return str(_NAMES.index(name) + (90 if light else 30))
    parts = value.split(",")
    if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
        return "38;2;" + ";".join(parts)
    return None
