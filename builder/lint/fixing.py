"""Mending a file: edits of single places, again and again until nothing is left to mend.

Only the bytes of an edit change. Edits that touch one another wait for the next round, and a round
whose result does not parse is not taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import Final

from builder.lint.places import Edit, Locator
from builder.lint.repairs import Repairs
from builder.lint.report import LintReport
from builder.lint.rules import Finding
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from records import Record

ROUND_LIMIT: Final = 8
"""Rounds of edits; each can only uncover what another finding was in the way of."""


class Mended(Record):
    """A file after mending: its bytes, its last report, and how many findings were mended."""

    source: bytes
    report: LintReport
    count: int


def mend(source: bytes, look: Callable[[bytes], LintReport], *, unsafe: bool = False) -> Mended:
    """Mend what can be mended safely, with ``unsafe`` also what changes the build as advised.

    ``look`` reports on a text. Raises what it raises.
    """
    report, count = look(source), 0
    for _ in range(ROUND_LIMIT):
        edited, mended = _round(report, unsafe=unsafe)
        if not mended or not _parses(edited):
            break
        report, count = look(edited), count + mended
    return Mended(report.source, report, count)


def mendable(report: LintReport) -> tuple[list[Finding], list[Finding]]:
    """The findings that can be mended safely, and those that only ``unsafe`` mends."""
    safe: list[Finding] = []
    unsafe: list[Finding] = []
    for finding, is_safe, _ in _edits(report):
        (safe if is_safe else unsafe).append(finding)
    return safe, unsafe


def _round(report: LintReport, *, unsafe: bool) -> tuple[bytes, int]:
    chosen: list[Edit] = []
    mended = 0
    for _, is_safe, edits in _edits(report):
        if (is_safe or unsafe) and not any(_is_taken(edit, chosen) for edit in edits):
            for edit in edits:
                insort(chosen, edit, key=_start)
            mended += 1
    return _apply(report.source, chosen), mended


def _edits(report: LintReport) -> list[tuple[Finding, bool, tuple[Edit, ...]]]:
    """What would mend each finding; findings that the same edits mend count once."""
    if not report.findings:
        return []
    repairs = Repairs(parse(report.source), Locator(report.source))
    found: dict[tuple[Edit, ...], tuple[Finding, bool, tuple[Edit, ...]]] = {}
    for finding in report.findings:
        repair = repairs.edits_of(finding)
        if repair is not None and repair[1]:
            found.setdefault(repair[1], (finding, repair[0].safe, repair[1]))
    return list(found.values())


def _is_taken(edit: Edit, chosen: Sequence[Edit]) -> bool:
    """Whether an edit touches one of those, which are sorted and apart from one another."""
    index = bisect_left(chosen, edit.start, key=_start)
    near = chosen[max(0, index - 1) : index + 1]
    return any(edit.start <= other.end and other.start <= edit.end for other in near)


def _start(edit: Edit) -> int:
    return edit.start


def _apply(source: bytes, edits: Sequence[Edit]) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for edit in edits:
        pieces += (source[position : edit.start], edit.text)
        position = edit.end
    return b"".join((*pieces, source[position:]))


def _parses(source: bytes) -> bool:
    try:
        parse(source)
    except DockerfileError:
        return False
    return True
