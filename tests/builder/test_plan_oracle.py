"""The planner against recorded answers of BuildKit's own frontend."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from builder.plan.model import Plan
from builder.plan.ops import SourceImage
from images.platform import Platform
from tests.builder.plans import StubResolver, plan_text
from tests.oracle import plan as suite

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "fixtures/oracle/plan.jsonl").read_text().splitlines()
    if line.strip()
]
BY_NAME = {row["name"]: row for row in ROWS}

NAME_DEVIATIONS = {
    "continuation-double": "a doubled escape is shown as written",
    "continuation-triple": "a doubled escape is shown as written",
    "copy-bool": "BuildKit leads linked copies with LINK",
    "copy-link-chown": "BuildKit leads linked copies with LINK",
    "workdir-root": "WORKDIR / has a number of its own",
    "base-inherits-override": "triggers count from the start",
    "duplicate-stage-name": "a shared base carries the name of the stage that needs it first",
    "context-stage-name": "a shared base carries the name of the stage that needs it first",
    "multi-stage-graph": "a shared base carries the name of the stage that needs it first",
    "run-mounts": "BuildKit quotes differently",
    "copy-heredoc": "delimiters are shown as written",
    "windows-target": "only Linux images are built",
}
"""Rows whose titles are meant to differ, with the reason."""
NUMBERED = re.compile(r"\[(?!internal)")
NAMED = [row for row in ROWS if not row["plan"].get("error") and row["name"] not in NAME_DEVIATIONS]


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_row(row: dict[str, Any]) -> None:
    assert suite.check_plan(row).differences == ()


def test_a_link_beside_a_mode_is_a_deviation() -> None:
    row = copy.deepcopy(BY_NAME["copy-bool"])
    row["dockerfile"] = "FROM b\nCOPY --link --chmod=700 a /\n"
    row["plan"]["image"]["history"][1]["created_by"] = "COPY --chmod=700 a / # buildkit"
    del row["plan"]["image"]["history"][2:]
    first = copy.deepcopy(row["plan"]["ops"][:3])
    first[2]["file"][0]["copy"]["mode"] = 0o700
    row["plan"]["ops"] = [*first, {"i": 3, "in": ["2:0"]}]
    verdict = suite.check_plan(row)
    assert (verdict.differences, verdict.deviation) == ((), suite.STILL_LINKED)


def test_a_variable_in_a_mount_is_a_deviation() -> None:
    row = copy.deepcopy(BY_NAME["copy-from-var"])
    row["dockerfile"] = "FROM b AS a\nFROM b\nARG S=a\nRUN --mount=from=$S,target=/x y\n"
    row["plan"]["error"] = "'from' doesn't support variable expansion, define alias stage instead"
    assert suite.check_plan(row).deviation == suite.VARIABLE_IN_FROM


def test_more_uses_than_are_provided_for_are_a_difference() -> None:
    row = copy.deepcopy(BY_NAME["copy-heredoc-var-undefined"])
    row["plan"]["warnings"] += [item for item in row["plan"]["warnings"] if "$X" in item["message"]]
    assert len(suite.check_plan(row).differences) == 1


def test_a_file_that_does_not_parse_is_not_linted() -> None:
    row = copy.deepcopy(BY_NAME["unknown-instruction-far"])
    row["plan"]["warnings"] = BY_NAME["maintainer"]["plan"]["warnings"]
    verdict = suite.check_plan(row)
    assert (verdict.differences, verdict.deviation) == ((), suite.NOT_PARSED)


def test_deviations_are_few_and_known() -> None:
    deviations = {row["name"]: suite.check_plan(row).deviation for row in ROWS}
    assert {name: rule for name, rule in deviations.items() if rule} == {
        "copy-from-var": suite.VARIABLE_IN_FROM,
        "copy-heredoc-var-undefined": suite.PROVIDED_FOR,
        "escape-bad": suite.DIRECTIVE_LINE,
        "modifiers": suite.PROVIDED_FOR,
        "windows-target": suite.LINUX_ONLY,
    }


def _changed(name: str, *path: Any, value: Any) -> dict[str, Any]:
    row = copy.deepcopy(BY_NAME[name])
    place = row
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return row


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (_changed("copy-chown", "plan", "ops", 2, "file", 0, "copy", "owner", value="x"), "ops"),
        (_changed("copy-bool", "plan", "ops", 5, "in", value=["4:0"]), "ops"),
        (_changed("run-mounts", "plan", "ops", 3, "exec", "mounts", 1, "ro", value=False), "ops"),
        (_changed("run-mounts", "plan", "ops", 2, "file", 0, "mkdir", "mode", value="1"), "ops"),
        (_changed("workdir-user", "plan", "ops", 1, "file", 0, "mkdir", "path", value="/"), "ops"),
        (_changed("add-url", "plan", "ops", 3, "source", "id", value="https://x/y"), "ops"),
        (_changed("copy-heredoc", "plan", "ops", 1, "file", 0, "mkfile", "data", value=""), "ops"),
        (_changed("cmd-shell-form", "plan", "image", "config", "Cmd", value=[]), "config"),
        (_changed("workdir-chain", "plan", "image", "history", value=[]), "history"),
        (_changed("from-scratch", "plan", "image", "rootfs", "diff_ids", value=["x"]), "rootfs"),
        (_changed("copy-url", "plan", "error", value="other"), "error"),
        (_changed("copy-url", "plan", "error", value=None), "error"),
        (_changed("copy-url", "plan", "error_lines", value=[[1, 1]]), "error_lines"),
        (_changed("maintainer", "plan", "warnings", value=[]), "warnings"),
        (_changed("maintainer", "plan", "warnings", 0, "start_line", value=1), "warnings"),
        (_changed("maintainer", "plan", "lint_all_stages", value=[]), "lint_all_warnings"),
        (_changed("modifiers", "plan", "warnings", 0, "message", value="x"), "warnings"),
        (_changed("env-forms", "plan", "warnings", 0, "message", value="x"), "warnings"),
    ],
)
def test_the_comparison_sees_every_part(row: dict[str, Any], part: str) -> None:
    assert part in {item.split(":")[0] for item in suite.check_plan(row).differences}


def _plan(row: dict[str, Any]) -> Plan:
    wanted = row["plan"]
    documents = {_tagged(name): document for name, document in wanted.get("base", {}).items()}
    return plan_text(
        row["dockerfile"],
        StubResolver(documents),
        platform=Platform.parse(wanted.get("platform", "linux/amd64")),
        build_args=wanted.get("build_args", {}),
        target=wanted.get("target"),
        labels=wanted.get("labels", {}),
    )


def _tagged(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


@pytest.mark.parametrize("row", NAMED, ids=[row["name"] for row in NAMED])
def test_names(row: dict[str, Any]) -> None:
    plan = _plan(row)
    wanted = {op["name"] for op in row["plan"]["ops"] if NUMBERED.match(op.get("name", ""))}
    # An image or a context that a stage reads counts as a second stage in BuildKit's titles.
    implicit = len(plan.stages) == 1 and any("[stage-0 " in title for title in wanted)
    if implicit:
        wanted = {title.replace("[stage-0 ", "[") for title in wanted}
    ours = {step.name for step in plan.steps if NUMBERED.match(step.name)}
    assert ours == wanted


def test_bases_are_resolved_for_needed_stages_alone() -> None:
    resolver = StubResolver()
    text = "FROM a AS one\nRUN 1\nFROM unneeded\nRUN 2\nFROM c\nCOPY --from=one /x /\n"
    plan = plan_text(text, resolver)
    assert set(resolver.asked) == {"a:latest", "c:latest"}
    images = [step for step in plan.steps if isinstance(step.op, SourceImage)]
    assert len(images) == 2
