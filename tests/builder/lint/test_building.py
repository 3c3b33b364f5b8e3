"""Lint while building: told with the other warnings, for what is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import PlanError
from builder.lint.linter import LintViolationError
from builder.lint.planning import plan_linted
from builder.lint.stages import SUGGESTION_LIMIT
from builder.plan.model import PlanWarning
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from dockerfile_grammar.parser import parse
from tests.builder.plans import AMD64, StubResolver
from tests.builder.workbench import Workbench

CASING = "StageNameCasing: Stage name 'Unused' should be lowercase"
WORKDIR = (
    'WorkdirRelativePath: Relative workdir "x" can have unexpected results if the base image '
    "changes"
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path)
    bench.add_base("base", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    yield bench
    bench.close()


def test_stages_that_are_not_built_are_silent_but_for_their_text(bench: Workbench) -> None:
    text = "FROM base AS Unused\nCMD a\nFROM base\nWORKDIR x\n"
    result = bench.build(text)
    assert result.warnings == (CASING, WORKDIR)
    assert bench.progress.warnings == [CASING, WORKDIR]


def test_violations_fail_the_build_before_anything_runs(bench: Workbench) -> None:
    with pytest.raises(LintViolationError, match="WorkdirRelativePath"):
        bench.build("# check=error=true\nFROM base\nWORKDIR x\nRUN y\n")
    assert bench.runner.texts == []
    assert bench.progress.warnings == [WORKDIR]


def test_warnings_are_told_although_planning_fails() -> None:
    told: list[PlanWarning] = []
    text = "FROM a\nMAINTAINER b\nCOPY --from=9 c /\n"
    options = PlanOptions(platform=AMD64, build_platform=AMD64)
    with pytest.raises(PlanError, match="invalid stage index"):
        plan_linted(parse(text), text.split("\n"), options, StubResolver(), warn=told.append)
    (warning,) = told
    assert warning.rule == "MaintainerDeprecated"
    assert warning.source is not None
    assert warning.source.where == "Dockerfile:2"


def test_other_warnings_follow() -> None:
    told: list[PlanWarning] = []
    options = PlanOptions(platform=AMD64, build_platform=AMD64, build_args={"UNUSED": "1"})
    linted = plan_linted(
        parse("FROM a\nMAINTAINER b\n"), [], options, StubResolver(), warn=told.append
    )
    assert [warning.rule for warning in linted.warnings] == ["MaintainerDeprecated", ""]
    assert tuple(told) == linted.warnings


ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[3] / "fixtures/oracle/plan.jsonl").read_text().splitlines()
]


def test_watching_changes_nothing() -> None:
    texts = [row["dockerfile"] for row in ROWS if not row["plan"].get("error")]
    for text in texts:
        tree, lines = parse(text), text.split("\n")
        options = PlanOptions(platform=AMD64, build_platform=AMD64)
        alone = plan(tree, lines, options, StubResolver())
        watched = plan_linted(tree, lines, options, StubResolver(), warn=lambda warning: None)
        assert replace(watched, warnings=alone.warnings) == alone


def test_misspelled_names_are_not_compared_with_thousands() -> None:
    many = "".join(f"ENV name{number}=1\n" for number in range(SUGGESTION_LIMIT + 1))
    told: list[PlanWarning] = []
    text = f"FROM a\n{many}USER $nam\n"
    options = PlanOptions(platform=AMD64, build_platform=AMD64)
    plan_linted(parse(text), text.split("\n"), options, StubResolver(), warn=told.append)
    assert [warning.message for warning in told] == [
        "UndefinedVar: Usage of undefined variable '$nam'"
    ]
