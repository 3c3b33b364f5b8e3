"""From characters of instructions to lines, columns and bytes of the file as it was written.

The tree keeps the text of an instruction with its continuations joined; here the joints are found
again, by reading the file's lines once more.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from dockerfile_grammar.lines import read_source
from dockerfile_grammar.nodes import SourceRange
from records import Record

if TYPE_CHECKING:
    from builder.lint.rules import Change, Finding, Place
    from dockerfile_grammar.lines import LogicalLine
    from dockerfile_grammar.nodes import Node

BOM = b"\xef\xbb\xbf"


class Region(Record):
    """Lines and columns (characters) from 1; ``end_column`` is the one behind the last."""

    start_line: int
    start_column: int
    end_line: int
    end_column: int


class Edit(Record):
    """``text`` in place of the bytes from ``start`` up to ``end``."""

    start: int
    end: int
    text: bytes


class Locator:
    """Finds places in one file.

    Raises:
        DockerfileError: the file cannot be cut into instructions.
    """

    def __init__(self, source: bytes, *, filename: str = "Dockerfile") -> None:
        read = read_source(source, filename=filename)
        self.source = source
        self.physical = read.physical
        self._logical = {line.range.start: line for line in read.lines}
        self._ends = {line.range.end: line for line in read.lines}
        self._starts = [len(BOM) if source.startswith(BOM) else 0]
        for line in read.physical:
            self._starts.append(self._starts[-1] + len(line.encode()) + 1)

    def region(self, finding: Finding) -> Region:
        """Where a finding is: its place, else the lines of its instruction, as far as written."""
        if finding.node is not None and finding.place is not None:
            region = self.place(finding.node, finding.place)
            if region is not None:
                return region
        first, last = finding.range.start, max(finding.range.start, finding.range.end)
        return Region(first, 1, last, len(self._line(last).rstrip("\r")) + 1)

    def range(self, finding: Finding) -> SourceRange:
        """The lines of a finding."""
        region = self.region(finding)
        return SourceRange(region.start_line, region.end_line)

    def place(self, node: Node, place: Place) -> Region | None:
        """Where in the file; None for an instruction that is not written there itself."""
        line = self._logical.get(node.range.start)
        if line is None:
            return None
        if place.heredoc is not None:
            return self._in_heredoc(line, place)
        if line.text != node.original:
            return None
        start = self._point(line, place.start, place.end)
        end = start if place.end <= place.start else _behind(line.locate(place.end - 1))
        return Region(*start, *end)

    def edit(self, node: Node, change: Change) -> Edit | None:
        """A change as bytes; None where it would swallow a line break or cannot be placed."""
        region = self.place(node, change.place)
        if region is None or region.start_line != region.end_line:
            return None
        start = self.offset(region.start_line, region.start_column)
        end = self.offset(region.end_line, region.end_column)
        return Edit(start, end, change.text.encode())

    def offset(self, line: int, column: int) -> int:
        """The byte at which a character begins."""
        return self._starts[line - 1] + len(self._line(line)[: column - 1].encode())

    def whole_line(self, line: int) -> Edit:
        """The removal of a line with its end."""
        return Edit(self._starts[line - 1], min(self._starts[line], len(self.source)), b"")

    def region_of(self, edit: Edit) -> Region:
        """The lines and columns of an edit's bytes."""
        return Region(*self._point_at(edit.start), *self._point_at(edit.end))

    def _point_at(self, offset: int) -> tuple[int, int]:
        line = max(1, min(bisect_right(self._starts, offset), len(self.physical)))
        before = self.source[self._starts[line - 1] : offset]
        return line, len(before.decode()) + 1

    def blank_lines(self, last: int) -> list[int]:
        """The blank lines inside the instruction that ends at a line; those of its here-documents
        are their own.
        """
        line = self._ends[last]
        bodies = sum(doc.content.count("\n") + 1 for doc in line.heredocs)
        inside = range(line.range.start + 1, line.range.end - bodies + 1)
        return [number for number in inside if not self._line(number).strip()]

    def _line(self, number: int) -> str:
        return self.physical[number - 1]

    def _point(self, line: LogicalLine, start: int, end: int) -> tuple[int, int]:
        """An insertion belongs behind the character before it, not before the next line's."""
        if end <= start and start > 0:
            return _behind(line.locate(start - 1))
        return line.locate(start)

    def _in_heredoc(self, line: LogicalLine, place: Place) -> Region:
        bodies = [doc.content for doc in line.heredocs]
        assert place.heredoc is not None
        below = sum(body.count("\n") + 1 for body in bodies[place.heredoc :])
        first = line.range.end - below + 1
        body = bodies[place.heredoc]
        start = _in_text(body, place.start, first)
        end = start if place.end <= place.start else _behind(_in_text(body, place.end - 1, first))
        return Region(*start, *end)


def _behind(point: tuple[int, int]) -> tuple[int, int]:
    return point[0], point[1] + 1


def _in_text(text: str, offset: int, first: int) -> tuple[int, int]:
    return first + text.count("\n", 0, offset), offset - (text.rfind("\n", 0, offset) + 1) + 1
