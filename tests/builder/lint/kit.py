"""A short way from Dockerfile text to what lint finds in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builder.ignore import IgnorePatterns
from builder.lint.linter import Linter
from builder.lint.selection import BUILDKIT, SETS, Selection
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from dockerfile_grammar.parser import parse
from tests.builder.plans import AMD64, STUB, StubResolver

ARM_ONLY = {"example/arm-only:latest": {**STUB, "architecture": "arm64"}}


def lint(
    text: str,
    *,
    ignore: str | None = None,
    bases: dict[str, Any] | None = None,
    every_stage: bool = True,
    selection: Selection = BUILDKIT,
    listing: Callable[[], frozenset[str]] | None = None,
    **options: Any,
) -> Linter:
    """Plan ``text`` under a linter, for linux/amd64 unless told otherwise."""
    tree = parse(text)
    settings = PlanOptions(**{"platform": AMD64, "build_platform": AMD64, **options})
    patterns = None if ignore is None else IgnorePatterns.parse(ignore)
    linter = Linter(tree, settings, ignore=patterns, selection=selection, listing=listing)
    resolver = StubResolver(ARM_ONLY if bases is None else bases)
    plan(tree, text.split("\n"), settings, resolver, observer=linter, every_stage=every_stage)
    return linter


def found(text: str, **options: Any) -> list[tuple[str, int]]:
    """The rules that fired and the lines they point at."""
    return [(finding.rule.name, finding.range.start) for finding in lint(text, **options).findings]


def messages(text: str, **options: Any) -> list[str]:
    """The messages of the findings."""
    return [finding.message for finding in lint(text, **options).findings]


def own(text: str, *rules: str, **options: Any) -> list[tuple[str, int]]:
    """What rules of our own find: those named, else the recommended ones, and BuildKit's never."""
    names = frozenset(rules) or SETS["recommended"] - SETS["buildkit"]
    return found(text, selection=Selection(names), **options)
