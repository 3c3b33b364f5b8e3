"""What may still refuse a write inside its transaction, where nothing can change any more.

The index calls its guard after it wrote and before it commits: what the guard raises undoes the
write. Rules of immutable tags and quotas stand behind it (``registry.admission``), and the proof
that bytes are really there, which is what keeps a slow upload safe from a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Usage:
    """What a repository takes: bytes of its blobs and manifests, and its number of tags."""

    bytes: int
    tags: int


Usages = Callable[[str], Iterable[tuple[str, Usage]]]
"""Usage by name of the repositories whose names begin so."""


class Guard(Protocol):
    """Raises to refuse."""

    @property
    def limits(self) -> bool:
        """Whether ``growth`` may refuse anything."""
        ...

    def content(self, digest: str) -> None:
        """A row now promises the bytes of this digest."""
        ...

    def growth(self, repository: str, before: Usage, after: Usage, others: Usages) -> None:
        """A repository changed from ``before`` to ``after``."""
        ...

    def room(self, repository: str, usage: Usage, others: Usages) -> int | None:
        """How many bytes a repository of that usage may grow; None for any number."""
        ...

    def tag(self, repository: str, tag: str, before: str | None, after: str | None) -> None:
        """A tag is about to move between digests; None is where there is no tag."""
        ...


class NoGuard:
    """Refuses nothing."""

    limits = False

    def content(self, digest: str) -> None:
        """Believe that the bytes are there."""

    def growth(self, repository: str, before: Usage, after: Usage, others: Usages) -> None:
        """Let it grow."""

    def room(self, repository: str, usage: Usage, others: Usages) -> int | None:
        """Say that there is no limit."""
        return None

    def tag(self, repository: str, tag: str, before: str | None, after: str | None) -> None:
        """Let it move."""
