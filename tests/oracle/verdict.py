"""The outcome of one row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Differences found in one row; ``deviation`` names the rule by which they are intended."""

    title: str
    differences: tuple[str, ...] = ()
    deviation: str | None = None

    @property
    def passed(self) -> bool:
        return not self.differences


def compare(title: str, **pairs: tuple[object, object]) -> Verdict:
    """One difference per name whose expected and actual values differ."""
    return Verdict(
        title,
        tuple(
            f"{name}: expected {expected!r}, got {actual!r}"
            for name, (expected, actual) in pairs.items()
            if expected != actual
        ),
    )
