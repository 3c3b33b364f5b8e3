"""Did-you-mean: the nearest known word, when it is near enough to be a slip of the hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTANCE_LIMIT = 3
"""Only words nearer than this are suggested, as in BuildKit."""


def nearest(word: str, candidates: Iterable[str], *, fold: bool = True) -> str | None:
    """The candidate with the smallest edit distance below the limit, the first of equals; case is
    ignored unless ``fold`` is False.

    None where nothing is near, or where ``word`` is itself a candidate.
    """
    folded = word.lower() if fold else word
    best: str | None = None
    best_distance = DISTANCE_LIMIT
    for candidate in candidates:
        if candidate == word:
            return None
        if abs(len(candidate) - len(word)) >= best_distance:
            continue
        distance = edit_distance(folded, candidate.lower() if fold else candidate)
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def with_suggestion(message: str, word: str, candidates: Iterable[str]) -> str:
    """``message``, followed by ``(did you mean x?)`` where a candidate is near ``word``."""
    found = nearest(word, candidates)
    return message if found is None else f"{message} (did you mean {found}?)"


def edit_distance(left: str, right: str) -> int:
    """How many insertions, deletions, substitutions and swaps of neighbours lead from one to the
    other.

    Optimal string alignment: a swap counts one, so ``chwon`` is nearer to ``chown`` than to
    ``chmod``.
    """
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for row, char in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            substitution = previous[column - 1] + (char != other)
            cost = min(previous[column] + 1, current[-1] + 1, substitution)
            swapped = (
                row > 1 and column > 1 and char == right[column - 2] and left[row - 2] == other
            )
            current.append(min(cost, before[column - 2] + 1) if swapped else cost)
        before, previous = previous, current
    return previous[-1]
