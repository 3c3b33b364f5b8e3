"""The planner against recorded answers of BuildKit's own frontend."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from builder.errors import PlanError
from builder.plan.model import Plan
from builder.plan.ops import Run, SourceImage
from dockerfile_grammar.errors import DockerfileError
from images.platform import Platform
from tests.builder.plans import StubResolver, plan_text

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "fixtures/oracle/plan.jsonl").read_text().splitlines()
    if line.strip()
]

DEVIATIONS = {
    "copy-from-var": "variables in COPY --from are resolved when their values are known",
    "check-error": "lint is not the planner's business",
    "windows-target": "only Linux images are built",
}
"""Rows that are meant to differ, with the reason."""

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
}
OWN_WORDS = {"from-Scratch-case", "from-stage-upper-ref"}
"""Rows whose message ends in what images.reference says of the name."""
NUMBERED = re.compile(r"\[(?!internal)")


COMPARED = [row for row in ROWS if row["name"] not in DEVIATIONS]
PLANNED = [row for row in COMPARED if not row["plan"].get("error")]
NAMED = [row for row in PLANNED if row["name"] not in NAME_DEVIATIONS]


def _plan(row: dict[str, Any]) -> Plan:
    wanted = row["plan"]
    return plan_text(
        row["dockerfile"],
        StubResolver(
            {_tagged(name): document for name, document in wanted.get("base", {}).items()}
        ),
        platform=Platform.parse(wanted.get("platform", "linux/amd64")),
        build_args=wanted.get("build_args", {}),
        target=wanted.get("target"),
        labels=wanted.get("labels", {}),
    )


def _tagged(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _history(plan: Plan) -> list[dict[str, Any]]:
    lines = []
    for entry in plan.image.history:
        if entry.inherited is not None:
            lines.append(entry.inherited.to_json())
            continue
        line: dict[str, Any] = {"created_by": entry.created_by, "comment": "buildkit.dockerfile.v0"}
        if entry.created:
            line["created"] = entry.created
        if entry.step is None:
            line["empty_layer"] = True
        lines.append(line)
    return lines


def test_every_deviation_is_a_row() -> None:
    assert {*DEVIATIONS, *NAME_DEVIATIONS, *OWN_WORDS} <= {row["name"] for row in ROWS}


@pytest.mark.parametrize("row", COMPARED, ids=[row["name"] for row in COMPARED])
def test_row(row: dict[str, Any]) -> None:
    wanted = row["plan"]
    if wanted.get("error"):
        with pytest.raises((PlanError, DockerfileError)) as caught:
            _plan(row)
        text = re.sub(r"^dockerfile parse error on line \d+: ", "", wanted["error"])
        if row["name"] in OWN_WORDS:
            text = text.replace("(library/Scratch) ", "").replace("(library/BASE) ", "")
        assert caught.value.what == text
        if isinstance(caught.value, PlanError) and wanted.get("error_lines"):
            assert caught.value.source is not None
            assert [list(span) for span in caught.value.source.ranges] == wanted["error_lines"]
        return
    plan = _plan(row)
    image = wanted["image"]
    assert dict(plan.image.config) == image["config"]
    assert _history(plan) == image["history"]
    assert plan.image.author == image.get("author", "")
    platform = plan.image.platform
    assert (platform.architecture, platform.variant) == (
        image["architecture"],
        image.get("variant", ""),
    )


@pytest.mark.parametrize("row", PLANNED, ids=[row["name"] for row in PLANNED])
def test_run_steps(row: dict[str, Any]) -> None:
    plan = _plan(row)
    wanted = [op["exec"] for op in row["plan"]["ops"] if "exec" in op]
    ours = [step.op for step in plan.steps if isinstance(step.op, Run)]
    assert sorted(" ".join(op.args) for op in ours) == sorted(" ".join(op["args"]) for op in wanted)
    by_args = {op.args: op for op in ours}
    for op in wanted:
        mine = by_args[tuple(op["args"])]
        assert mine.cwd == op["cwd"]
        assert mine.user == op.get("user", "")
        environment = [pair for pair in op["env"] if not pair.startswith("SSH_AUTH_SOCK")]
        assert sorted(mine.env) == sorted(environment)


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
