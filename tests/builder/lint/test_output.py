"""Findings for programs: SARIF, GitHub's annotations, JSON; and the places they point at."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from builder.lint.check import check
from builder.lint.listing import lines_github, lines_text, report_list, summary_text
from builder.lint.places import Locator, Region
from builder.lint.report import LintReport
from builder.lint.sarif import sarif
from builder.lint.selection import Selection
from builder.request import BuildRequest
from tests.builder.plans import AMD64, StubResolver

TEXT = "FROM a\nRUN x && \\\n    # why\n    apk add ü \\\n  && apt install b\n"


def look(text: str, rules: str = "recommended") -> LintReport:
    selection = Selection.parse(rules, usual="recommended")
    request = BuildRequest(None, text.encode())
    return check(request, resolver=StubResolver(), host=AMD64, selection=selection)


def place(text: str, rule: str) -> Region:
    report = look(text, rule)
    (finding,) = report.findings
    assert finding.range.start == Locator(report.source).region(finding).start_line
    return Locator(report.source).region(finding)


@pytest.mark.parametrize(
    ("text", "rule", "region"),
    [
        (TEXT, "ApkCacheLeft", (4, 5, 4, 12)),
        (TEXT, "FloatingBaseImage", (1, 6, 1, 7)),
        (TEXT.replace("\n", "\r\n"), "ApkCacheLeft", (4, 5, 4, 12)),
        ("\ufeff" + TEXT, "FloatingBaseImage", (1, 6, 1, 7)),
        ("FROM a:1\nRUN apk \\\n add b\n", "ApkCacheLeft", (2, 5, 3, 5)),
        ("FROM a:1\nRUN <<EOF\nx\n  apk add b\nEOF\n", "ApkCacheLeft", (4, 3, 4, 10)),
        ("FROM a:1\n  RUN   apk add b\n", "ApkCacheLeft", (2, 9, 2, 16)),
        ("FROM a:1\nUSER root\n", "LastUserRoot", (2, 1, 2, 10)),
        ("FROM a:1\nRUN x \\\n\n  y\n", "NoEmptyContinuation", (4, 1, 4, 4)),
        ("FROM a:1\nCOPY a b \\\r\n /c\r\n", "SeveralSourcesNeedSlash", (2, 1, 3, 4)),
    ],
)
def test_places(text: str, rule: str, region: tuple[int, int, int, int]) -> None:
    found = place(text, rule)
    assert (found.start_line, found.start_column, found.end_line, found.end_column) == region


def document(*reports: LintReport, project: str = "") -> dict[str, Any]:
    made = json.loads(json.dumps(sarif(reports, version="1.2", project=project)))
    assert isinstance(made, dict)
    return made


def test_sarif() -> None:
    log = document(look(TEXT), project="https://example.com/lading/")
    assert (log["version"], log["$schema"]) == (
        "2.1.0",
        "https://json.schemastore.org/sarif-2.1.0.json",
    )
    (run,) = log["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("lading", "1.2")
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"] == {"uri": "Dockerfile"}
        region = location["physicalLocation"]["region"]
        assert 1 <= region["startLine"] <= region["endLine"]
    apk = next(result for result in run["results"] if result["ruleId"] == "ApkCacheLeft")
    assert apk["level"] == "warning"
    assert apk["message"] == {"text": "'apk add' leaves its index in the image: use --no-cache"}
    (fix,) = apk["fixes"]
    (replacement,) = fix["artifactChanges"][0]["replacements"]
    here = {"startLine": 4, "startColumn": 12, "endLine": 4, "endColumn": 12}
    assert replacement == {"deletedRegion": here, "insertedContent": {"text": " --no-cache"}}
    rule = next(rule for rule in driver["rules"] if rule["id"] == "ApkCacheLeft")
    assert rule["helpUri"] == "https://example.com/lading/docs/lint/ApkCacheLeft.md"
    assert rule["properties"]["tags"] == ["recommended", "DL3019"]


def test_sarif_of_pages_without_an_address_and_of_faults() -> None:
    log = document(look("FROM a\nCMD x\n"), look("FROM a:1\nRNU x\n"))
    driver = log["runs"][0]["tool"]["driver"]
    rules = {rule["id"]: rule for rule in driver["rules"]}
    assert "helpUri" not in rules["FloatingBaseImage"]
    assert rules["FloatingBaseImage"]["help"]["text"] == "see docs/lint/FloatingBaseImage.md"
    assert rules["JSONArgsRecommended"]["helpUri"].startswith("https://docs.docker.com/")
    fault = log["runs"][0]["results"][-1]
    assert (fault["ruleId"], fault["level"]) == ("DockerfileFault", "error")
    region = fault["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 2, "endLine": 2}


@pytest.mark.parametrize(
    ("name", "uri"),
    [("a b/Dockerfile", "a%20b/Dockerfile"), ("/x/Dockerfile", "file:///x/Dockerfile")],
)
def test_sarif_names_files_as_addresses(name: str, uri: str) -> None:
    report = replace(look("FROM a\n"), filename=name)
    (result,) = document(report)["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == uri


def test_annotations() -> None:
    report = replace(look("FROM a\n"), filename="a,b:c%d")
    assert list(lines_github(report)) == [
        "::warning file=a%2Cb%3Ac%25d,line=1,endLine=1,col=6,endColumn=7,title=FloatingBaseImage::"
        "Base image 'a' is another one tomorrow: name a version"
    ]
    assert list(lines_github(look("FROM a:1\nRNU x\n"))) == [
        "::error file=Dockerfile,line=2,endLine=2::unknown instruction: RNU (did you mean RUN?)"
    ]


def test_lines_are_in_order_and_say_what_to_do() -> None:
    lines = list(lines_text(look("FROM a:1\nRUN a | b && apk add c\nUSER root\n")))
    assert lines == [
        "Dockerfile:2:5: PipeWithoutPipefail When 'a' fails, this step goes on, "
        "because a pipe follows it",
        '    put SHELL ["/bin/bash", "-o", "pipefail", "-c"] above, or set -o pipefail in the step',
        "Dockerfile:2:14: ApkCacheLeft 'apk add' leaves its index in the image: use --no-cache",
        "Dockerfile:3:1: LastUserRoot Containers of this image run as root, "
        "because the last USER is 'root'",
    ]
    assert list(lines_text(look(""))) == ["Dockerfile: error: the Dockerfile cannot be empty"]


def test_summaries() -> None:
    assert summary_text([]) == "no findings"
    assert summary_text([look("FROM a\n")]) == "1 finding"
    text = "FROM a\nRUN apk add b\nRUN <<E\nx\ny\nE\n"
    assert summary_text([look(text)]) == ("3 findings; --fix mends 1; --unsafe-fixes mends 1 more")


def test_plain_data() -> None:
    (entry,) = report_list(look("FROM a:1\nRUN apk add b\n"))
    assert entry == {
        "file": "Dockerfile",
        "line": 2,
        "column": 5,
        "endLine": 2,
        "endColumn": 12,
        "rule": "ApkCacheLeft",
        "aliases": ["DL3019"],
        "level": "recommended",
        "message": "'apk add' leaves its index in the image: use --no-cache",
        "advice": "",
        "fixable": True,
        "url": "docs/lint/ApkCacheLeft.md",
    }
