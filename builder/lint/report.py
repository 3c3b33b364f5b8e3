"""What a check found, for people and for programs, in the shape docker gives it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dockerfile_grammar.excerpt import excerpt, source_lines
from dockerfile_grammar.nodes import SourceRange

if TYPE_CHECKING:
    from builder.lint.rules import Finding

LANGUAGE: Final = "Dockerfile"


@dataclass(frozen=True, slots=True)
class BuildFault:
    """Why the file cannot be built at all: the message and the lines to blame."""

    message: str
    ranges: tuple[SourceRange, ...] = ()
    parsed: bool = True
    """False where the file is no Dockerfile at all."""


@dataclass(frozen=True, slots=True)
class LintReport:
    """The findings in one file, by line; ``fault`` ended the check early, if there is one."""

    filename: str
    source: bytes
    findings: tuple[Finding, ...]
    fault: BuildFault | None = None

    @property
    def clean(self) -> bool:
        """Whether there is nothing to mend; the exit status is 1 otherwise."""
        return not self.findings and self.fault is None


def report_text(report: LintReport) -> str:
    """Each finding with its rule, page, message and lines; then how many there are."""
    lines = source_lines(report.source)
    out: list[str] = []
    for finding in report.findings:
        out += [
            "",
            f"WARNING: {finding.rule.name} - {finding.rule.url}",
            finding.message,
            *([f"  {finding.rule.advice}"] if finding.rule.advice else []),
            excerpt(report.filename, lines, [finding.range]),
        ]
    if report.fault is not None:
        out += ["", f"ERROR: {report.fault.message}"]
        if report.fault.ranges:
            out.append(excerpt(report.filename, lines, report.fault.ranges))
    count = len(report.findings)
    if count or report.fault is None:
        found = "no warnings found." if not count else f"{count} warnings have been found!"
        found = "1 warning has been found!" if count == 1 else found
        out = [*out, "", f"Check complete, {found}"] if out else [f"Check complete, {found}"]
    return "\n".join(out) + "\n"


def report_json(report: LintReport) -> dict[str, Any]:
    """The fields of ``docker build --call=check,format=json``; the source is in base64."""
    value: dict[str, Any] = {
        "warnings": [
            {
                "ruleName": finding.rule.name,
                "description": finding.rule.description,
                "url": finding.rule.url,
                "detail": finding.message,
                "location": _location([finding.range]),
                **({"advice": finding.rule.advice} if finding.rule.advice else {}),
            }
            for finding in report.findings
        ],
        "sources": [
            {
                "filename": report.filename,
                "data": base64.b64encode(report.source).decode(),
                "language": LANGUAGE,
            }
        ],
    }
    if report.fault is not None:
        value["buildError"] = {
            "message": report.fault.message,
            "location": _location(report.fault.ranges),
        }
    return value


def _location(ranges: tuple[SourceRange, ...] | list[SourceRange]) -> dict[str, Any]:
    return {
        "ranges": [{"start": {"line": span.start}, "end": {"line": span.end}} for span in ranges]
    }
