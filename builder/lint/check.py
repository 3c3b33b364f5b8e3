"""The check without a build: every stage is planned and looked at, nothing is executed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.inputs import ignore_patterns, read_inputs
from builder.lint.linter import Linter
from builder.lint.places import Locator
from builder.lint.report import BuildFault, LintReport
from builder.lint.selection import BUILDKIT, Selection
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.excerpt import source_lines
from dockerfile_grammar.nodes import SourceRange
from images.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.bases import BaseResolver
    from builder.ignore import IgnorePatterns
    from builder.inputs import BuildInputs
    from builder.request import BuildRequest
    from dockerfile_grammar.nodes import Dockerfile


def check(
    request: BuildRequest,
    *,
    resolver: BaseResolver,
    host: Platform | None = None,
    selection: Selection = BUILDKIT,
    unknown: Callable[[str], bool] | None = None,
) -> LintReport:
    """Look at a request's Dockerfile: at all stages, or at those its target needs.

    Faults of the file are part of the report. ``unknown`` says of which bases, by name, the
    resolver could only pretend to know the config.

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
        fault = BuildFault(error.what, ranges, parsed=False)
        return LintReport(inputs.name, inputs.dockerfile, (), fault)
    host = host or Platform.host()
    options = PlanOptions(
        platform=request.platform or host,
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        contexts=request.contexts,
        filename=inputs.name,
    )
    ignore = ignore_patterns(inputs)
    linter = Linter(
        tree,
        options,
        ignore=ignore,
        selection=selection,
        listing=_listing(inputs, ignore),
        unknown=unknown,
    )
    found = _plan(tree, inputs, options, resolver, linter)
    locator = Locator(inputs.dockerfile, filename=inputs.name)
    findings = tuple(replace(item, range=locator.range(item)) for item in linter.findings)
    return LintReport(inputs.name, inputs.dockerfile, findings, found)


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


def _listing(
    inputs: BuildInputs, ignore: IgnorePatterns | None
) -> Callable[[], frozenset[str]] | None:
    """The paths of the context as ``Survey`` wants them; the context is walked when it is asked."""
    context = inputs.context
    if context is None:
        return None

    def walk() -> frozenset[str]:
        from builder.scan import scan_context

        matches, prune = (ignore.matches, ignore.may_prune) if ignore else (None, None)
        scan = scan_context(context, now_ns=time.time_ns(), ignored=matches, may_prune=prune)
        found = set[str]()
        for folder, entries in scan.directories.items():
            prefix = f"{folder}/" if folder else ""
            found.update(f"{prefix}{name}" for name in entries)
            if folder:
                found.discard(folder)
                found.add(prefix)
        return frozenset(found)

    return walk
