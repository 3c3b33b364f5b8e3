"""Warnings, gathered while a build goes on and told together at its end."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Warnings:
    """Each message once, with all the places it was raised for, in the order of appearance."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, message: str, where: str = "") -> None:
        """One more; the same message for the same place counts once."""
        places = self._places.setdefault(message, [])
        if where not in places:
            places.append(where)

    def __len__(self) -> int:
        return sum(len(places) for places in self._places.values())

    def lines(self) -> list[str]:
        """A line that counts them, and one for each message; none where there are none."""
        if not self._places:
            return []
        found = "1 warning" if len(self) == 1 else f"{len(self)} warnings"
        return [f"{found}:", *(_line(*item) for item in self._places.items())]


def _line(message: str, places: Sequence[str]) -> str:
    named = [place for place in places if place]
    return f" - {message}" + (f" ({', '.join(named)})" if named else "")
