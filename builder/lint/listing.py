"""Findings of several files in lines: for people, for GitHub's annotations, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from builder.lint.fixing import mendable
from builder.lint.places import Locator, Region
from builder.lint.report import LintReport
from builder.lint.rules import Finding


def lines_text(report: LintReport) -> Iterator[str]:
    """``file:line:column: Rule message``, and indented what to do, for each finding in order."""
    for finding, region in _placed(report):
        place = f"{report.filename}:{region.start_line}:{region.start_column}"
        yield f"{place}: {finding.rule.name} {finding.message}"
        if finding.rule.advice:
            yield f"    {finding.rule.advice}"
    if report.fault is not None:
        line = f":{report.fault.ranges[0].start}" if report.fault.ranges else ""
        yield f"{report.filename}{line}: error: {report.fault.message}"


def summary_text(reports: Iterable[LintReport]) -> str:
    """How many findings there are, and how many of them the program can mend."""
    reports = list(reports)
    found = sum(len(report.findings) for report in reports)
    if not found:
        return "no findings"
    safe, unsafe = 0, 0
    for report in reports:
        first, second = mendable(report)
        safe, unsafe = safe + len(first), unsafe + len(second)
    text = "1 finding" if found == 1 else f"{found} findings"
    if safe:
        text += f"; --fix mends {safe}"
    if unsafe:
        text += f"; --unsafe-fixes mends {unsafe} more"
    return text


def lines_github(report: LintReport) -> Iterator[str]:
    """Workflow commands (GitHub, "Workflow commands for GitHub Actions"): one annotation each."""
    for finding, region in _placed(report):
        values = {
            "file": report.filename,
            "line": region.start_line,
            "endLine": region.end_line,
            "col": region.start_column,
            "endColumn": region.end_column,
            "title": finding.rule.name,
        }
        yield _command("warning", values, finding.message)
    if report.fault is not None:
        values = {"file": report.filename}
        if report.fault.ranges:
            values |= {"line": report.fault.ranges[0].start, "endLine": report.fault.ranges[0].end}
        yield _command("error", values, report.fault.message)


def report_list(report: LintReport) -> list[dict[str, Any]]:
    """The findings as plain data."""
    safe = {id(finding) for finding in mendable(report)[0]}
    found: list[dict[str, Any]] = [
        {
            "file": report.filename,
            "line": region.start_line,
            "column": region.start_column,
            "endLine": region.end_line,
            "endColumn": region.end_column,
            "rule": finding.rule.name,
            "aliases": list(finding.rule.aliases),
            "level": finding.rule.level.name.lower(),
            "message": finding.message,
            "advice": finding.rule.advice,
            "fixable": id(finding) in safe,
            "url": finding.rule.url,
        }
        for finding, region in _placed(report)
    ]
    if report.fault is not None:
        line = report.fault.ranges[0].start if report.fault.ranges else None
        entry = {"file": report.filename, "line": line, "rule": "", "level": "error"}
        found.append({**entry, "message": report.fault.message})
    return found


def _placed(report: LintReport) -> Iterator[tuple[Finding, Region]]:
    """The findings with their places, in the order of the file."""
    if not report.findings:
        return
    locator = Locator(report.source)
    placed = [(finding, locator.region(finding)) for finding in report.findings]
    placed.sort(key=lambda pair: (pair[1].start_line, pair[1].start_column, pair[0].rule.name))
    yield from placed


def _command(kind: str, values: dict[str, object], message: str) -> str:
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in values.items())
    return f"::{kind} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
