"""Bytes over time as the points of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

DAY: Final = 86400
WIDTH: Final = 600
HEIGHT: Final = 120
_LEAST_POINTS: Final = 2


@dataclass(frozen=True, slots=True)
class Chart:
    """A line of steps in a box of ``WIDTH`` by ``HEIGHT``; ``table`` says the same in words."""

    area: str
    line: str
    first: date
    last: date
    most: int
    table: tuple[tuple[date, int], ...]


def chart_of(days: Sequence[tuple[int, int]]) -> Chart | None:
    """The picture of (day since the epoch, bytes), ascending; None where nothing changed yet."""
    known = dict(days)
    if len(known) < _LEAST_POINTS:
        return None
    first, last = min(known), max(known)
    most = max(known.values()) or 1
    points: list[tuple[float, float]] = []
    for day, size in known.items():
        x = round(WIDTH * (day - first) / (last - first), 1)
        y = round(HEIGHT - (HEIGHT - 4) * size / most, 1)
        if points:
            # It stayed what it was until this day.
            points.append((x, points[-1][1]))
        points.append((x, y))
    line = "M" + " L".join(f"{x},{y}" for x, y in points)
    table = tuple((_date(day), size) for day, size in known.items())
    return Chart(f"{line} V{HEIGHT} H0 Z", line, _date(first), _date(last), most, table[-12:])


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY, UTC).date()
