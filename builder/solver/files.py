"""What the solver asks of COPY semantics: entries for a step, and what its sources hold.

The solver decides when; an implementation decides what ends up where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from records import Record, field

if TYPE_CHECKING:
    from builder.plan.ops import ContextKey, Copy, Workdir
    from builder.request import Material
    from images.layers.entry import Entry
    from images.layers.merged import MergedTree

Directories: TypeAlias = Sequence[Path]
"""Overlay layer directories, topmost first."""
FilesOf: TypeAlias = "Directories | ContextKey | None"
"""Where a step reads: a stage's layers, a named context, or None for the build context."""
LazyTree: TypeAlias = "Callable[[], MergedTree]"
"""The tree below a step. Layers may have to be unpacked for it, so it is asked for when needed."""


class Selection(Record):
    """What a step reads of a tree: one digest, and each path's own for explanations."""

    digest: bytes
    files: Mapping[str, str] = field(default_factory=dict)


class FilePlanner(Protocol):
    """Entries for file operations; safe to use from several threads."""

    def copy(self, op: Copy, source: FilesOf, base: LazyTree, *, created_ns: int) -> list[Entry]:
        """The layer of a COPY or ADD on top of ``base``; ``created_ns`` dates what has no date.

        Raises:
            BuildInputError: a source is missing, an owner is unknown, files and directories clash.
        """

    def workdir(self, op: Workdir, base: LazyTree, *, created_ns: int) -> list[Entry]:
        """The layer of a WORKDIR; empty when the directory is there."""

    def selection(self, op: Copy, source: FilesOf) -> Selection:
        """What the sources of ``op`` hold, whatever the destination; times do not count.

        Raises:
            BuildInputError: a source is missing.
        """

    def content(self, path: str, source: FilesOf) -> Selection:
        """What is at and below ``path``; times do not count.

        Raises:
            BuildInputError: nothing is there.
        """

    def fetched(self) -> tuple[Material, ...]:
        """What copies took from elsewhere so far."""

    def tree(self, path: str, source: FilesOf) -> list[Entry]:
        """Everything at and below ``path``, named relative to it; a file alone is named ``""``.

        Raises:
            BuildInputError: nothing is there.
        """
