"""Suite ``plan``: {name, dockerfile, plan{error | image, ops, warnings}} and what the build was
asked for.

Each row is parsed, linted and planned as for a build, with a stub for every base image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from builder.errors import BuildError
from builder.lint.planning import plan_linted
from builder.plan.config import HISTORY_COMMENT
from builder.plan.model import Plan, PlanWarning
from builder.plan.ops import SourceImage
from builder.plan.options import PlanOptions
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from images.platform import Platform
from tests.builder.plans import AMD64, StubResolver
from tests.oracle.graphs import difference, of_plan, of_reference
from tests.oracle.verdict import Verdict

LINUX_ONLY = "only Linux images are built"
VARIABLE_IN_FROM = "COPY --from takes a variable whose value is known before anything runs"
DIRECTIVE_LINE = "a directive's error names its line counted from 1, not from 0"
STILL_LINKED = "--link stays what it is beside --chmod"
PROVIDED_FOR = "UndefinedVar says nothing of ${name:-word} and its kin, which provide for it"

_PREFIX = re.compile(r"^dockerfile parse error on line \d+: ")
_UNDEFINED = re.compile(r"Usage of undefined variable '\$(\w+)'")


@dataclass(frozen=True, slots=True)
class _Outcome:
    warnings: tuple[PlanWarning, ...]
    plan: Plan | None = None
    error: str | None = None
    lines: list[list[int]] | None = None


def check_plan(row: dict[str, Any]) -> Verdict:
    """Compare the error or the image and the graph, and in any case the warnings."""
    wanted = row["plan"]
    asked = {**wanted, **row}
    outcome = _plan(row["dockerfile"], asked)
    rule = _rule(asked, outcome)
    if rule is not None:
        return Verdict(row["name"], deviation=rule)
    differences, deviation = _warnings(wanted.get("warnings") or [], outcome, row["dockerfile"])
    error = wanted.get("error")
    if error is not None or outcome.error is not None:
        error = error and _PREFIX.sub("", error)
        if error != outcome.error:
            differences.append(f"error: expected {error!r}, got {outcome.error!r}")
        lines = wanted.get("error_lines")
        if lines is not None and lines != outcome.lines:
            differences.append(f"error_lines: expected {lines!r}, got {outcome.lines!r}")
    elif outcome.plan is not None:
        differences += _image(wanted["image"], outcome.plan)
        graph, linked = _graph(wanted["ops"], outcome.plan)
        differences += [f"ops: {graph}"] if graph else []
        deviation = deviation or linked
    return Verdict(row["name"], tuple(differences), deviation)


def _plan(text: str, asked: dict[str, Any]) -> _Outcome:
    warnings: list[PlanWarning] = []
    bases = (asked.get("base") or {}).items()
    resolver = StubResolver(
        {name if ":" in name else f"{name}:latest": document for name, document in bases}
    )
    options = PlanOptions(
        platform=Platform.parse(asked.get("platform") or "linux/amd64"),
        build_platform=AMD64,
        target=asked.get("target"),
        build_args=asked.get("build_args") or {},
        labels=asked.get("labels") or {},
    )
    try:
        tree = parse(text)
        plan = plan_linted(tree, text.splitlines(), options, resolver, warn=warnings.append)
    except DockerfileError as error:
        lines = [[error.range.start, error.range.end]]
        return _Outcome(tuple(warnings), error=error.what, lines=lines)
    except BuildError as error:
        ranges = error.source.ranges if error.source is not None else ()
        return _Outcome(tuple(warnings), error=error.what, lines=[list(span) for span in ranges])
    return _Outcome(tuple(warnings), plan=plan)


def _rule(asked: dict[str, Any], outcome: _Outcome) -> str | None:
    """The deviation that makes a row incomparable."""
    if (asked.get("platform") or "linux").partition("/")[0] != "linux":
        return LINUX_ONLY
    error = asked.get("error") or ""
    if error.startswith("variable expansion is not supported for --from") and outcome.plan:
        return VARIABLE_IN_FROM
    if asked.get("error_lines") == [[0, 0]] and error == outcome.error:
        return DIRECTIVE_LINE
    return None


def _warnings(
    wanted: list[dict[str, Any]], outcome: _Outcome, text: str
) -> tuple[list[str], str | None]:
    """Differences in the findings of lint, and the deviation that explains what is left out."""
    missing = [_finding(item) for item in wanted]
    unexpected = []
    for warning in outcome.warnings:
        if warning.rule and warning.source is not None:
            message = warning.message.removeprefix(f"{warning.rule}: ")
            found = (warning.rule, message, *warning.source.ranges[0])
            if found in missing:
                missing.remove(found)
            else:
                unexpected.append(found)
    lines = text.splitlines()
    provided = [item for item in missing if _is_provided_for(item, lines)]
    left = [item for item in missing if item not in provided]
    differences = [f"warnings: missing {item}" for item in left]
    differences += [f"warnings: not expected {item}" for item in unexpected]
    return differences, PROVIDED_FOR if provided else None


def _finding(item: dict[str, Any]) -> tuple[str, str, int, int]:
    return item["rule"], item["message"], item["start_line"], item["end_line"]


def _is_provided_for(item: tuple[str, str, int, int], lines: list[str]) -> bool:
    rule, message, start, end = item
    name = _UNDEFINED.match(message)
    if rule != "UndefinedVar" or name is None:
        return False
    return re.search(rf"\$\{{{name[1]}:?[-+?]", "\n".join(lines[start - 1 : end])) is not None


def _image(wanted: dict[str, Any], plan: Plan) -> list[str]:
    platform = plan.image.platform
    compared = {
        "config": (wanted["config"], dict(plan.image.config)),
        "history": (wanted.get("history") or [], _history(plan)),
        "author": (wanted.get("author", ""), plan.image.author),
        "os": (wanted["os"], platform.os),
        "architecture": (wanted["architecture"], platform.architecture),
        "variant": (wanted.get("variant", ""), platform.variant),
        "rootfs": (len(wanted["rootfs"]["diff_ids"] or []), _base_layers(plan)),
    }
    return [
        f"{name}: expected {expected!r}, got {actual!r}"
        for name, (expected, actual) in compared.items()
        if expected != actual
    ]


def _graph(ops: list[dict[str, Any]], plan: Plan) -> tuple[str | None, str | None]:
    """The first difference, and the deviation that explains it away."""
    expected = of_reference(ops)
    found = difference(expected, of_plan(plan))
    if found is not None and expected == of_plan(plan, link_with_chmod=False):
        return None, STILL_LINKED
    return found, None


def _history(plan: Plan) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for entry in plan.image.history:
        if entry.inherited is not None:
            lines.append(entry.inherited.to_json())
            continue
        line: dict[str, Any] = {"created_by": entry.created_by, "comment": HISTORY_COMMENT}
        if entry.created:
            line["created"] = entry.created
        if entry.step is None:
            line["empty_layer"] = True
        lines.append(line)
    return lines


def _base_layers(plan: Plan) -> int:
    """The reference's graph knows only the layers that were there before the build."""
    step = plan.steps[plan.result]
    while step.parent is not None:
        step = plan.steps[step.parent]
    return len(step.op.base.layers) if isinstance(step.op, SourceImage) else 0
