"""Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), for code scanning.

One run, the rules that were broken, and a result for each finding with its place and, where the
file can be mended, the replacement. Columns count Unicode code points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from builder.lint.places import Edit, Locator, Region
from builder.lint.repairs import Repairs
from builder.lint.report import BuildFault, LintReport
from builder.lint.rules import Level, Rule
from dockerfile_grammar.parser import parse

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
FAULT: Final = "DockerfileFault"
_LEVELS: Final[Mapping[Level, str]] = {
    Level.DEFAULT: "warning",
    Level.RECOMMENDED: "warning",
    Level.OPTIONAL: "note",
}


def sarif(reports: Iterable[LintReport], *, version: str, project: str = "") -> dict[str, Any]:
    """One log of all files. ``project`` is the address below which ``docs/lint`` is found, ending
    with a slash; pages of our own rules are named in their help where there is none.
    """
    reports = list(reports)
    rules = {finding.rule.name: finding.rule for report in reports for finding in report.findings}
    driver: dict[str, Any] = {
        "name": "lading",
        "version": version,
        "rules": [_rule(rules[name], project) for name in sorted(rules)],
    }
    if any(report.fault is not None for report in reports):
        driver["rules"].append(
            {"id": FAULT, "shortDescription": {"text": "The file cannot be built"}}
        )
    numbers = {rule["id"]: number for number, rule in enumerate(driver["rules"])}
    results = [result for report in reports for result in _results(report, numbers)]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule, project: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": rule.name,
        "shortDescription": {"text": rule.description},
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
        "properties": {"tags": [rule.level.name.lower(), *rule.aliases]},
    }
    if not rule.own:
        value["helpUri"] = rule.url
    elif project:
        value["helpUri"] = f"{project}{rule.url}"
    value["help"] = {"text": "; ".join(filter(None, (rule.advice, f"see {rule.url}")))}
    return value


def _results(report: LintReport, numbers: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    if report.findings:
        locator = Locator(report.source)
        repairs = Repairs(parse(report.source), locator)
        for finding in report.findings:
            name = finding.rule.name
            result = {
                "ruleId": name,
                "ruleIndex": numbers[name],
                "level": _LEVELS[finding.rule.level],
                "message": {"text": finding.message},
                "locations": [_location(report, _region(locator.region(finding)))],
            }
            repair = repairs.edits_of(finding)
            if repair is not None and repair[1]:
                result["fixes"] = [_fix(report, repair[0].what, repair[1], locator)]
            yield result
    if report.fault is not None:
        yield _fault(report, report.fault, numbers[FAULT])


def _fault(report: LintReport, fault: BuildFault, number: int) -> dict[str, Any]:
    lines = fault.ranges[0] if fault.ranges else None
    region = None if lines is None else {"startLine": lines.start, "endLine": lines.end}
    return {
        "ruleId": FAULT,
        "ruleIndex": number,
        "level": "error",
        "message": {"text": fault.message},
        "locations": [_location(report, region)],
    }


def _location(report: LintReport, region: dict[str, int] | None) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(report)}}
    if region is not None:
        place["region"] = region
    return {"physicalLocation": place}


def _uri(report: LintReport) -> str:
    path = PurePath(report.filename)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _region(region: Region) -> dict[str, int]:
    return {
        "startLine": region.start_line,
        "startColumn": region.start_column,
        "endLine": region.end_line,
        "endColumn": region.end_column,
    }


def _fix(
    report: LintReport, what: str, edits: tuple[Edit, ...], locator: Locator
) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": _region(locator.region_of(edit)),
            "insertedContent": {"text": edit.text.decode()},
        }
        for edit in edits
    ]
    return {
        "description": {"text": what},
        "artifactChanges": [
            {"artifactLocation": {"uri": _uri(report)}, "replacements": replacements}
        ],
    }
