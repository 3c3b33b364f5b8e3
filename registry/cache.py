"""Answers kept in memory: hot manifests and small blobs, never longer than they are true.

An entry is good while its repository's generation is the one it was filled under, so a delete by
any process of this registry makes it unreachable before the delete is answered. Least recently used
entries leave when the byte budget is spent.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from registry.protocols import Freshness

V = TypeVar("V")

_OVERHEAD = 512


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    generation: int
    value: V
    cost: int


class AnswerCache(Generic[V]):
    """Values by (repository, name), used from the event loop only."""

    def __init__(self, generations: Freshness, *, limit: int) -> None:
        self._generations = generations
        self._limit = limit
        self._used = 0
        self._entries: OrderedDict[tuple[str, str], _Entry[V]] = OrderedDict()

    def get(self, repository: str, name: str) -> V | None:
        """The value, if it is still true."""
        key = (repository, name)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.generation != self._generations.current(repository):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def generation(self, repository: str) -> int:
        """To be read before the index is asked, and handed to ``put``."""
        return self._generations.current(repository)

    def put(self, repository: str, name: str, value: V, *, generation: int, size: int) -> None:
        """Keep ``value`` of ``size`` bytes, read under ``generation``."""
        cost = size + _OVERHEAD
        if generation & 1 or cost > self._limit // 8:
            return
        key = (repository, name)
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(generation, value, cost)
        self._used += cost
        while self._used > self._limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        self._used -= self._entries.pop(key).cost
