"""Planning for a build: what lint finds in the stages to be built joins the plan's warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import Source
from builder.lint.linter import Linter
from builder.lint.selection import BUILDKIT, Selection
from builder.plan.model import PlanWarning
from builder.plan.planner import plan
from records import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.bases import BaseResolver
    from builder.ignore import IgnorePatterns
    from builder.lint.rules import Finding
    from builder.plan.model import Plan
    from builder.plan.options import PlanOptions
    from dockerfile_grammar.nodes import Dockerfile


def plan_linted(
    dockerfile: Dockerfile,
    lines: Sequence[str],
    options: PlanOptions,
    resolver: BaseResolver,
    *,
    ignore: IgnorePatterns | None = None,
    selection: Selection = BUILDKIT,
    warn: Callable[[PlanWarning], None],
) -> Plan:
    """Plan and lint; ``warn`` gets every warning, also where planning ends in an error.

    Raises:
        LintOptionError: ``check=`` is malformed.
        LintViolationError: there are findings, and they were declared errors.
        PlanError, ImagesError: as ``builder.plan.planner.plan``.
    """
    linter = Linter(dockerfile, options, ignore=ignore, selection=selection)
    planned: tuple[PlanWarning, ...] = ()
    try:
        made = plan(dockerfile, lines, options, resolver, observer=linter)
        planned = made.warnings
        linter.raise_violation()
    finally:
        found = tuple(_warning(item, options, tuple(lines)) for item in linter.findings)
        for warning in (*found, *planned):
            warn(warning)
    return replace(made, warnings=(*found, *planned))


def _warning(finding: Finding, options: PlanOptions, lines: tuple[str, ...]) -> PlanWarning:
    span = (finding.range.start, finding.range.end)
    source = Source(options.filename, lines, (span,))
    return PlanWarning(f"{finding.rule.name}: {finding.message}", source, finding.rule.name)
