"""Names of targets by pattern: ``*``, ``?`` and ``[...]``, as Go's path.Match reads them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from dockerfile_grammar.suggest import nearest
from engine.bake.errors import BakeValueError

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_pattern(text: str) -> bool:
    """Whether a text is more than a name."""
    return any(char in text for char in "*?[]")


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The names that match, in their order.

    Raises:
        BakeValueError: none does.
    """
    if pattern in names:
        return [pattern]
    # Names have neither slashes nor brackets, so all that differs is how a set is negated.
    found = [name for name in names if fnmatchcase(name, pattern.replace("[^", "[!"))]
    if is_pattern(pattern) and found:
        return found
    near = nearest(pattern, names)
    raise BakeValueError(
        f"no target is called {pattern}"
        if not is_pattern(pattern)
        else f"{pattern} matches no target",
        fix=f"did you mean {near}?" if near else "`lading bake --list targets` shows them",
    )
