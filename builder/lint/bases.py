"""Rules about FROM: arguments of image names and platforms; every stage is looked at."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import PlanError, Source
from builder.lint import rules
from builder.lint.rules import Finding
from builder.plan.globals import GlobalScope
from builder.plan.options import PlanOptions
from builder.plan.target import find_target
from dockerfile_grammar import nodes
from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import Expansion, expansion
from dockerfile_grammar.suggest import nearest
from images.errors import ImagesError
from images.platform import Platform
from images.reference import Reference
from records import replace


def findings(dockerfile: nodes.Dockerfile, options: PlanOptions) -> Iterator[Finding]:
    """Everything these rules have to say.

    Nothing about what cannot be expanded: the planner has an error for that.
    """
    defaults = _globals(dockerfile, replace(options, build_args=_overrides(dockerfile, options)))
    if defaults is not None:
        yield from _defaults(dockerfile, defaults)
    scope = _globals(dockerfile, options)
    if scope is None:
        return
    for stage in dockerfile.stages:
        base = stage.base
        image = _expansion(base.image, scope, dockerfile.escape)
        if image is not None:
            yield from _undeclared(base, image, scope)
        platform = _expansion(base.platform or "", scope, dockerfile.escape)
        if base.platform and platform is not None:
            yield from _undeclared(base, platform, scope)
            yield from _platform(base, platform, scope)


def _globals(dockerfile: nodes.Dockerfile, options: PlanOptions) -> GlobalScope | None:
    """The global arguments; None where the planner will not come that far."""
    try:
        return GlobalScope(dockerfile, options, find_target(dockerfile, options), _nowhere)
    except PlanError:
        return None


def _overrides(dockerfile: nodes.Dockerfile, options: PlanOptions) -> dict[str, str]:
    """The build arguments that no ARG declares: they can only concern automatic arguments."""
    declared = {pair.key for node in dockerfile.global_args for pair in node.args}
    return {name: value for name, value in options.build_args.items() if name not in declared}


def _defaults(dockerfile: nodes.Dockerfile, scope: GlobalScope) -> Iterator[Finding]:
    for stage in dockerfile.stages:
        image = _expansion(stage.base.image, scope, dockerfile.escape)
        if image is None:
            return
        try:
            Reference.parse(image.text)
        except ImagesError:
            yield rules.INVALID_DEFAULT_ARG_IN_FROM.at(stage.base, stage.base.image)


def _undeclared(base: nodes.From, word: Expansion, scope: GlobalScope) -> Iterator[Finding]:
    for name in dict.fromkeys(word.unmatched):
        if name not in scope.values:
            near = nearest(name, scope.values, fold=False)
            yield rules.UNDEFINED_ARG_IN_FROM.at(base, name, near or "")


def _platform(base: nodes.From, word: Expansion, scope: GlobalScope) -> Iterator[Finding]:
    written = base.platform or ""
    if word.matched == ("TARGETPLATFORM",) and not word.unmatched:
        if word.text == scope.values["TARGETPLATFORM"]:
            yield rules.REDUNDANT_TARGET_PLATFORM.at(base, written)
        return
    if word.matched or word.unmatched:
        return
    try:
        platform = Platform.parse(word.text)
    except ImagesError:
        return
    name = base.alias or ""
    if platform.os not in name and platform.architecture not in name:
        yield rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED.at(base, word.text)


def _expansion(word: str, scope: GlobalScope, escape: str) -> Expansion | None:
    try:
        return expansion(word, scope.known, escape=escape)
    except ExpansionError:
        return None


def _nowhere(location: nodes.SourceRange) -> Source:
    return Source("", (), ((location.start, location.end),))
