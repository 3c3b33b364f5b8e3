"""Did-you-mean: the nearest known word, when it is near enough to be a slip of the hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTANCE_LIMIT = 3
"""Only words nearer than this are suggested, as in BuildKit."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate with the smallest edit distance below the limit, the first of equals; case is ignored.

    None where nothing is near, or where ``word`` is itself a candidate.
    """
    folded = word.lower()
    best: str | None = None
    best_distance = DISTANCE_LIMIT
    for candidate in candidates:
        if candidate == word:
            return None
        if abs(len(candidate) - len(word)) >= best_distance:
            continue
        distance = edit_distance(folded, candidate.lower())
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def with_suggestion(message: str, word: str, candidates: Iterable[str]) -> str:
    """``message``, followed by ``(did you mean x?)`` where a candidate is near ``word``."""
    found = nearest(word, candidates)
    return message if found is None else f"{message} (did you mean {found}?)"


def edit_distance(left: str, right: str) -> int:
    """Levenshtein's distance: insertions, deletions and substitutions, each counting one."""
    previous = list(range(len(right) + 1))
    for row, char in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            substitution = previous[column - 1] + (char != other)
            current.append(min(previous[column] + 1, current[-1] + 1, substitution))
        previous = current
    return previous[-1]
