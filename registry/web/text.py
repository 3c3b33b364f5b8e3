"""Words, sizes and moments for people.

What images say about themselves is written by whoever may push. Templates escape it; here it loses
what would change the look of the text around it: control characters and those that turn the
direction of writing (CVE-2021-42574).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

LINE: Final = 4096
"""Characters of one text that are shown."""

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_STEPS: Final = (
    (60, 60, "minute"),
    (3600, 24, "hour"),
    (86400, 60, "day"),
    (30 * 86400, 24, "month"),
)
_YEAR: Final = 365 * 86400


def clean(text: object, *, limit: int = LINE) -> str:
    """Text on one line without control characters; blanks run together."""
    shown = " ".join(str(text)[: limit + 1].split())
    if not shown.isprintable():
        shown = "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
        )
    return shown if len(shown) <= limit else shown[:limit] + "…"


def size(value: float) -> str:
    """Bytes with three significant digits and decimal units, as Docker writes them: ``5.31 MB``."""
    unit = 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.3g} {_UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment for a ``time`` element: machines' spelling, people's spelling, and its age."""

    iso: str
    full: str
    age: str


def moment(seconds: float, now: float) -> Moment:
    """A moment in seconds since the epoch."""
    when = datetime.fromtimestamp(seconds, UTC)
    return Moment(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M UTC"), age(now - seconds)
    )


def parse_moment(text: str | None, now: float) -> Moment | None:
    """A moment out of a document (RFC 3339); None where there is none."""
    try:
        when = datetime.fromisoformat((text or "")[:40].replace("Z", "+00:00"))
        return moment(when.replace(tzinfo=when.tzinfo or UTC).timestamp(), now)
    except (ValueError, OverflowError):
        return None


def age(seconds: float) -> str:
    """``just now``, ``3 minutes ago``, ``2 years ago``."""
    if seconds < 60:
        return "just now"
    for length, most, name in _STEPS:
        count = int(seconds // length)
        if count < most:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return f"{int(seconds // _YEAR)} years ago"


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell two apart by eye."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:12]}"
