"""A definition file, and places in it that errors point at."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple


class SourceFile:
    """One file as its reader knows it; ``name`` is what was asked for, not where it was found."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        """The physical lines, without their ends."""
        return self.text.split("\n")


class Place(NamedTuple):
    """Where something is written; line and column count from 1."""

    file: SourceFile
    line: int
    column: int

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.file.name}:{self.line}"
