"""Which stage a name means, and which stages a stage leads to.

A later stage of the same name hides an earlier one from what follows. FROM compares a name as
written, ``--from`` in lower case; both lead to earlier stages alone, so no chain of them is a
circle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from dockerfile_grammar import nodes

CLIMB: Final = 20
"""Stages on top of one another that are planned by recursion; longer chains in such pieces."""

_INDEX_DIGITS: Final = 9


class StageNames:
    """The names of a Dockerfile's stages."""

    def __init__(
        self, stages: Sequence[nodes.Stage], replaced: frozenset[int] = frozenset()
    ) -> None:
        """``replaced`` stages lead nowhere: a named context stands in for them."""
        self._stages = stages
        self._replaced = replaced
        self._named: dict[str | None, list[int]] = {}
        for stage in stages:
            self._named.setdefault(stage.name, []).append(stage.index)

    def anywhere(self, name: str, stage: int) -> int | None:
        """The last stage of this name before ``stage``, else the first one at or after it."""
        named = self._named.get(name, ())
        before = bisect_left(named, stage)
        return named[max(before - 1, 0)] if named else None

    def base(self, name: str, stage: int) -> int | None:
        """The stage a FROM names: an earlier one, compared as written with lower-cased names."""
        named = self._named.get(name, ())
        before = bisect_left(named, stage)
        return named[before - 1] if before else None

    def landings(self, target: int) -> list[int]:
        """Stages to plan before the target, from the bottom: none, unless a chain is long."""
        references = {target: self._references(target)}
        pending = [target]
        while pending:
            for index in references[pending.pop()]:
                if index not in references:
                    references[index] = self._references(index)
                    pending.append(index)
        levels: dict[int, int] = {}
        for index in sorted(references):
            levels[index] = 1 + max((levels[it] for it in references[index]), default=0)
        return [index for index, level in levels.items() if level % CLIMB == 0]

    def _references(self, index: int) -> set[int]:
        """The earlier stages that a stage names without variables."""
        if index in self._replaced:
            return set()
        stage = self._stages[index]
        found = {self.base(stage.base.image, index)}
        for node in stage.instructions:
            if isinstance(node, nodes.Copy) and node.from_:
                found.add(self._copied(node.from_, index))
            elif isinstance(node, nodes.Run):
                names = (dict(mount.options).get("from") or "" for mount in node.mounts)
                found.update(self.anywhere(name.lower(), index) for name in names)
        return {it for it in found if it is not None and it < index}

    def _copied(self, name: str, stage: int) -> int | None:
        if name.isascii() and name.isdigit() and len(name) <= _INDEX_DIGITS:
            return int(name)
        return self.anywhere(name.lower(), stage)
