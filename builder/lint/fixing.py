"""Mending a file: edits of single places, again and again until nothing is left to mend.

Only the bytes of an edit change. Edits that touch one another wait for the next round, and a round
whose result does not parse is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from builder.lint.places import Edit, Locator
from builder.lint.repairs import edits_of
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
        if not (is_safe or unsafe):
            continue
        new = [edit for edit in edits if edit not in chosen]
        if not any(_meet(edit, other) for edit in new for other in chosen):
            chosen += new
            mended += 1
    return _apply(report.source, chosen), mended


def _edits(report: LintReport) -> list[tuple[Finding, bool, tuple[Edit, ...]]]:
    if not report.findings:
        return []
    tree = parse(report.source)
    locator = Locator(report.source)
    found = []
    for finding in report.findings:
        repair = edits_of(finding, tree, locator)
        if repair is not None and repair[1]:
            found.append((finding, repair[0].safe, repair[1]))
    return found


def _meet(one: Edit, other: Edit) -> bool:
    """Whether two edits touch; two insertions at one place do."""
    return one.start <= other.end and other.start <= one.end


def _apply(source: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        source = source[: edit.start] + edit.text + source[edit.end :]
    return source


def _parses(source: bytes) -> bool:
    try:
        parse(source)
    except DockerfileError:
        return False
    return True
