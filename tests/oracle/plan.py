"""Suite ``plan``: {name, dockerfile, plan{error | image, ops, warnings}} and what the build was
asked for.

Each row is parsed, linted and planned as for a build, with a stub for every base image.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from builder.errors import BuildError
from builder.lint.check import check
from builder.lint.planning import plan_linted
from builder.plan.config import HISTORY_COMMENT
from builder.plan.model import Plan, PlanWarning
from builder.plan.ops import SourceImage
from builder.plan.options import PlanOptions
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import parse
from images.platform import Platform
from tests.builder.plans import AMD64, StubResolver
from tests.oracle.graphs import difference, of_plan, of_reference
from tests.oracle.verdict import Verdict

LINUX_ONLY = "only Linux images are built"
VARIABLE_IN_FROM = "from takes a variable whose value is known before anything runs"
DIRECTIVE_LINE = "a directive's error names its line counted from 1, not from 0"
STILL_LINKED = "--link stays what it is beside --chmod"
NOT_PARSED = "a file that does not parse is not linted"
PROVIDED_FOR = "UndefinedVar says nothing of ${name:-word} and its kin, which provide for it"

_PREFIX = re.compile(r"^dockerfile parse error on line \d+: ")
_NO_VARIABLE = re.compile("variable expansion is not supported for --from|'from' doesn't support")
_UNDEFINED = re.compile(r"Usage of undefined variable '\$(\w+)'")


Found = tuple[str, str, int, int]
"""A finding of lint: its rule, its message, its first and last line."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    found: list[Found]
    parsed: bool = True
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
    differences, deviation = _findings(wanted.get("warnings"), outcome.found, row["dockerfile"])
    if outcome.parsed and wanted.get("lint_all_stages") is not None:
        found = _checked(row["dockerfile"], asked)
        more, _ = _findings(wanted["lint_all_stages"], found, row["dockerfile"])
        differences += [f"lint_all_{item}" for item in more]
    elif differences and not outcome.parsed:
        differences, deviation = [], NOT_PARSED
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
    options = PlanOptions(
        platform=Platform.parse(asked.get("platform") or "linux/amd64"),
        build_platform=AMD64,
        target=asked.get("target"),
        build_args=asked.get("build_args") or {},
        labels=asked.get("labels") or {},
    )
    plan = error = lines = None
    parsed = True
    try:
        tree = parse(text)
        plan = plan_linted(tree, text.split("\n"), options, _resolver(asked), warn=warnings.append)
    except DockerfileError as caught:
        parsed, error, lines = False, caught.what, [[caught.range.start, caught.range.end]]
    except BuildError as caught:
        ranges = caught.source.ranges if caught.source is not None else ()
        error, lines = caught.what, [list(span) for span in ranges]
    found = [_found(warning) for warning in warnings if warning.rule]
    return _Outcome(found, parsed, plan, error, lines)


def _resolver(asked: dict[str, Any]) -> StubResolver:
    bases = (asked.get("base") or {}).items()
    return StubResolver(
        {name if ":" in name else f"{name}:latest": document for name, document in bases}
    )


def _found(warning: PlanWarning) -> Found:
    assert warning.source is not None
    message = warning.message.removeprefix(f"{warning.rule}: ")
    return (warning.rule, message, *warning.source.ranges[0])


def _checked(text: str, asked: dict[str, Any]) -> list[Found]:
    """What a check of every stage finds."""
    request = BuildRequest(
        context=None,
        dockerfile=text.encode(),
        platform=Platform.parse(asked.get("platform") or "linux/amd64"),
        build_args=asked.get("build_args") or {},
    )
    report = check(request, resolver=_resolver(asked), host=AMD64)
    return [
        (finding.rule.name, finding.message, finding.range.start, finding.range.end)
        for finding in report.findings
    ]


def _rule(asked: dict[str, Any], outcome: _Outcome) -> str | None:
    """The deviation that makes a row incomparable."""
    if (asked.get("platform") or "linux").partition("/")[0] != "linux":
        return LINUX_ONLY
    error = asked.get("error") or ""
    if _NO_VARIABLE.search(error) and outcome.plan:
        return VARIABLE_IN_FROM
    if asked.get("error_lines") == [[0, 0]] and error == outcome.error:
        return DIRECTIVE_LINE
    return None


def _findings(
    wanted: list[dict[str, Any]] | None, found: list[Found], text: str
) -> tuple[list[str], str | None]:
    """Differences in the findings of lint, and the deviation that explains what is left out."""
    expected: Counter[Found] = Counter(
        (item["rule"], item["message"], item["start_line"], item["end_line"])
        for item in wanted or ()
    )
    missing, unexpected = expected - Counter(found), Counter(found) - expected
    provided = 0
    for item in list(missing):
        guarded = min(missing[item], _guarded_uses(item, text.split("\n")))
        missing[item] -= guarded
        provided += guarded
    differences = [f"warnings: missing {item}" for item in missing.elements()]
    differences += [f"warnings: not expected {item}" for item in unexpected.elements()]
    return differences, PROVIDED_FOR if provided else None


def _guarded_uses(item: Found, lines: list[str]) -> int:
    """How often the lines of an UndefinedVar use its name with a word to take its place."""
    rule, message, start, end = item
    name = _UNDEFINED.match(message)
    if rule != "UndefinedVar" or name is None:
        return 0
    return len(re.findall(rf"\$\{{{name[1]}:?[-+?]", "\n".join(lines[start - 1 : end])))


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
