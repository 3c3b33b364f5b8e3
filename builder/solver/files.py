"""What the solver asks of COPY semantics: entries for a step, and what its sources hold.

The solver decides when; an implementation decides what ends up where. ``dirs`` are overlay layer
directories, topmost first; None stands for the build context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from builder.plan.ops import Copy, Workdir
    from images.layers.entry import Entry

Directories: TypeAlias = Sequence[Path]
LazyDirectories: TypeAlias = Callable[[], Directories]
"""Directories that may have to be unpacked first, so they are asked for only when needed."""


class FilePlanner(Protocol):
    """Entries for file operations; safe to use from several threads."""

    def copy(self, op: Copy, source: Directories | None, base: LazyDirectories) -> list[Entry]:
        """The layer of a COPY or ADD on top of ``base``.

        Raises:
            BuildInputError: a source is missing, an owner is unknown, files and directories clash.
        """

    def workdir(self, op: Workdir, base: LazyDirectories) -> list[Entry]:
        """The layer of a WORKDIR; empty when the directory is there."""

    def selection(self, op: Copy, source: Directories | None) -> list[Entry]:
        """What the sources of ``op`` hold, under names that depend on the sources alone.

        Raises:
            BuildInputError: a source is missing.
        """

    def tree(self, path: str, source: Directories | None) -> list[Entry]:
        """Everything at and below ``path``, named relative to it; a file alone is named ``""``.

        Raises:
            BuildInputError: nothing is there.
        """
