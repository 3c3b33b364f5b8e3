"""The check without a build: every stage is planned and looked at, nothing is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.inputs import ignore_patterns, read_inputs
from builder.lint.linter import Linter
from builder.lint.report import BuildFault, LintReport
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.excerpt import source_lines
from dockerfile_grammar.nodes import SourceRange
from images.platform import Platform

if TYPE_CHECKING:
    from builder.bases import BaseResolver
    from builder.inputs import BuildInputs
    from builder.request import BuildRequest
    from dockerfile_grammar.nodes import Dockerfile


def check(
    request: BuildRequest, *, resolver: BaseResolver, host: Platform | None = None
) -> LintReport:
    """Look at a request's Dockerfile: at all stages, or at those its target needs.

    Faults of the file are part of the report.

    Raises:
        BuildInputError: the context, the Dockerfile or its ignore file cannot be read.
        LintOptionError: the settings are malformed.
        ImagesError: a base image cannot be resolved.
    """
    from dockerfile_grammar.parser import parse

    inputs = read_inputs(request)
    try:
        tree = parse(inputs.dockerfile, filename=inputs.name)
    except DockerfileError as error:
        ranges = (error.range,) if error.range.start else ()
        return LintReport(inputs.name, inputs.dockerfile, (), BuildFault(error.what, ranges))
    host = host or Platform.host()
    options = PlanOptions(
        platform=request.platform or host,
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        filename=inputs.name,
    )
    linter = Linter(tree, options, ignore=ignore_patterns(inputs))
    fault = _plan(tree, inputs, options, resolver, linter)
    return LintReport(inputs.name, inputs.dockerfile, linter.findings, fault)


def _plan(
    tree: Dockerfile,
    inputs: BuildInputs,
    options: PlanOptions,
    resolver: BaseResolver,
    linter: Linter,
) -> BuildFault | None:
    lines = source_lines(inputs.dockerfile)
    try:
        plan(tree, lines, options, resolver, observer=linter, every_stage=not options.target)
        linter.raise_violation()
    except BuildInputError as error:
        ranges = error.source.ranges if error.source is not None else ()
        return BuildFault(error.what, tuple(SourceRange(*span) for span in ranges))
    return None
