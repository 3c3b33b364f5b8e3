"""The check of a whole request, and its report as text and as JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildInputError
from builder.lint.check import check
from builder.lint.report import LintReport, report_json, report_text
from builder.lint.selection import Selection
from builder.lint.settings import LintOptionError
from builder.request import BuildRequest
from tests.builder.plans import AMD64, StubResolver

TWO_STAGES = "FROM a AS One\nRUN x\n\nFROM a\nMAINTAINER b\n"


def _check(text: str, *, context: Path | None = None, **options: Any) -> LintReport:
    request = BuildRequest(context=context, dockerfile=text.encode(), **options)
    return check(request, resolver=StubResolver(), host=AMD64)


def _rules(report: LintReport) -> list[str]:
    return [finding.rule.name for finding in report.findings]


def test_every_stage_is_looked_at_unless_one_is_named() -> None:
    text = "FROM a AS one\nCMD x\nFROM a AS two\nWORKDIR y\n"
    assert _rules(_check(text)) == ["JSONArgsRecommended", "WorkdirRelativePath"]
    assert _rules(_check(text, target="two")) == ["WorkdirRelativePath"]
    assert _rules(_check(text, target="one")) == ["JSONArgsRecommended"]


def test_the_context_gives_the_ignore_file(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*.log\n")
    report = _check("FROM a\nCOPY b.log /\n", context=tmp_path)
    assert _rules(report) == ["CopyIgnoredFile"]


def test_a_clean_file() -> None:
    report = _check("FROM a\n")
    assert report.clean
    assert report_text(report) == "Check complete, no warnings found.\n"
    assert report_json(report)["warnings"] == []
    assert "buildError" not in report_json(report)


def test_text() -> None:
    assert report_text(_check(TWO_STAGES)) == (
        "\nWARNING: StageNameCasing - "
        "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n"
        "Stage name 'One' should be lowercase\n"
        "Dockerfile:1\n"
        "--------------------\n"
        "   1 | >>> FROM a AS One\n"
        "   2 |     RUN x\n"
        "   3 |\n"
        "--------------------\n"
        "\nWARNING: MaintainerDeprecated - "
        "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"
        "Maintainer instruction is deprecated in favor of using label\n"
        "Dockerfile:5\n"
        "--------------------\n"
        "   3 |\n"
        "   4 |     FROM a\n"
        "   5 | >>> MAINTAINER b\n"
        "--------------------\n"
        "\nCheck complete, 2 warnings have been found!\n"
    )
    assert report_text(_check("FROM a AS One\n")).endswith(
        "\nCheck complete, 1 warning has been found!\n"
    )


def test_json_is_as_docker_prints_it() -> None:
    value = json.loads(json.dumps(report_json(_check(TWO_STAGES))))
    assert value["warnings"][1] == {
        "ruleName": "MaintainerDeprecated",
        "description": "The MAINTAINER instruction is deprecated, use a label instead to define an "
        "image author",
        "url": "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
        "detail": "Maintainer instruction is deprecated in favor of using label",
        "location": {"ranges": [{"start": {"line": 5}, "end": {"line": 5}}]},
    }
    (source,) = value["sources"]
    assert base64.b64decode(source.pop("data")) == TWO_STAGES.encode()
    assert source == {"filename": "Dockerfile", "language": "Dockerfile"}


@pytest.mark.parametrize(
    ("text", "rules", "message", "lines"),
    [
        ("FROM a\nRNU x\n", [], "unknown instruction: RNU (did you mean RUN?)", (2, 2)),
        ("", [], "the Dockerfile cannot be empty", None),
        (
            "FROM a AS One\nCOPY --from=2 a b\nWORKDIR c\n",
            ["StageNameCasing"],
            "invalid stage index 2",
            (2, 2),
        ),
        (
            "# check=error=true\nFROM a AS One\n",
            ["StageNameCasing"],
            "lint violation found for rules: StageNameCasing",
            None,
        ),
    ],
)
def test_faults_are_part_of_the_report(
    text: str, rules: list[str], message: str, lines: tuple[int, int] | None
) -> None:
    report = _check(text)
    assert not report.clean
    assert _rules(report) == rules
    assert report.fault is not None
    assert report.fault.message == message
    assert [(span.start, span.end) for span in report.fault.ranges] == ([lines] if lines else [])
    assert f"\nERROR: {message}\n" in report_text(report)
    assert report_json(report)["buildError"]["message"] == message
    assert (f"Dockerfile:{lines[0]}\n" in report_text(report)) if lines else True


def test_a_fault_alone_is_not_called_complete() -> None:
    assert "Check complete" not in report_text(_check("FROM a\nRNU x\n"))


def test_what_is_no_fault_of_the_file_is_raised(tmp_path: Path) -> None:
    with pytest.raises(LintOptionError):
        _check("# check=x\nFROM a\n")
    (tmp_path / ".dockerignore").write_text("[\n")
    with pytest.raises(BuildInputError, match="syntax error in pattern"):
        _check("FROM a\n", context=tmp_path)


def test_lines_end_at_line_feeds_alone() -> None:
    report = _check("FROM a\nRUN x\x0c\x0by\nMAINTAINER b\n")
    assert "   3 | >>> MAINTAINER b" in report_text(report)


def test_a_file_without_stages_is_a_fault_whatever_is_asked() -> None:
    request = BuildRequest(context=None, dockerfile=b"ARG A\n")
    report = check(request, resolver=StubResolver(), host=AMD64, selection=Selection.of("all"))
    assert report.fault is not None
    assert report.fault.message == "dockerfile contains no stages to build"
