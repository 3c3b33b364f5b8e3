"""The linter: watches a plan being made and keeps what the rules find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.lint import bases, files, rules, stages
from builder.lint.selection import ASKED_NAMES, BUILDKIT, OWN_NAMES, Selection
from builder.lint.settings import LintSettings, asked_in
from builder.plan.observer import PlanObserver
from dockerfile_grammar import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from builder.ignore import IgnorePatterns
    from builder.lint.rules import Finding
    from builder.plan.config import ConfigDraft
    from builder.plan.options import PlanOptions
    from builder.plan.scope import StageScope
    from images.platform import Platform


class LintViolationError(BuildInputError):
    """The settings make findings an error, and there are some."""

    code = "lint-violation"


class Linter(PlanObserver):
    """Give it to the planner as ``observer``; afterwards ``findings`` is complete.

    Rules of the text speak about the whole file, rules of stages about those that are planned.
    ``ignore`` holds the patterns of the build context, None where there are none; ``listing`` tells
    what is in it, as ``Survey`` wants it. ``unknown`` says of a base's name that its config is not
    the real one.

    Raises:
        LintOptionError: the settings are malformed.
    """

    def __init__(
        self,
        dockerfile: nodes.Dockerfile,
        options: PlanOptions,
        *,
        ignore: IgnorePatterns | None = None,
        selection: Selection = BUILDKIT,
        listing: Callable[[], frozenset[str]] | None = None,
        unknown: Callable[[str], bool] | None = None,
    ) -> None:
        self.settings = LintSettings.of(dockerfile, options.build_args, filename=options.filename)
        self._escape = dockerfile.escape
        self._filename = options.filename
        self._ignore = ignore
        self._selection = selection
        self._unknown = unknown
        self._unsure: set[int] = set()
        self._found: list[Finding] = []
        self._with_workdir: set[int] = set()
        self._only_last: dict[tuple[int, type], nodes.Instruction] = {}
        self._keep(files.findings(dockerfile))
        self._keep(bases.findings(dockerfile, options))
        self._keep(self._own(dockerfile, options, listing))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, by line."""
        return tuple(sorted(self._found, key=lambda finding: finding.range.start))

    def raise_violation(self) -> None:
        """Fail where the settings ask for it.

        Raises:
            LintViolationError: there are findings; names their rules.
        """
        # A file that BuildKit builds is built, unless more was asked for.
        names = sorted(
            {
                finding.rule.name
                for finding in self._found
                if self._selection.chosen or not finding.rule.own
            }
        )
        if names and self.settings.error:
            raise LintViolationError(
                f"lint violation found for rules: {', '.join(names)}",
                where=self._filename,
                fix="mend them, or write # check=skip=RULE above the instruction",
            )

    def entered(self, stage: nodes.Stage, parent: int | None) -> None:
        """A stage knows of the WORKDIRs of the stage it starts from."""
        if parent in self._with_workdir:
            self._with_workdir.add(stage.index)
        if parent in self._unsure:
            self._unsure.add(stage.index)

    def resolved(
        self, stage: nodes.Stage, name: str, *, expected: Platform, actual: Platform
    ) -> None:
        """Compare operating system and architecture; variants may differ."""
        if self._unknown is not None and self._unknown(name):
            self._unsure.add(stage.index)
            return
        if (expected.os, expected.architecture) != (actual.os, actual.architecture):
            rule = rules.INVALID_BASE_IMAGE_PLATFORM
            self._keep([rule.at(stage.base, name, str(expected), str(actual))])

    def reading(
        self, stage: int, node: nodes.Instruction, scope: StageScope, draft: ConfigDraft
    ) -> None:
        """Apply the rules of stages.

        Raises:
            ExpansionError: a word of the instruction is malformed.
        """
        found = stages.findings(node, scope, draft, escape=self._escape, ignore=self._ignore)
        if stage in self._unsure:
            # The base may define any variable.
            found = (finding for finding in found if finding.rule is not rules.UNDEFINED_VAR)
        self._keep(found)
        match node:
            case nodes.Workdir():
                if stage not in self._with_workdir:
                    self._keep(stages.relative_workdir(node, scope, self._escape))
                self._with_workdir.add(stage)
            case nodes.Cmd() | nodes.Entrypoint() | nodes.Healthcheck():
                earlier = self._only_last.get((stage, type(node)))
                if earlier is not None:
                    self._keep([stages.overridden(earlier, node)])
                self._only_last[stage, type(node)] = node

    def _own(
        self,
        dockerfile: nodes.Dockerfile,
        options: PlanOptions,
        listing: Callable[[], frozenset[str]] | None,
    ) -> Iterator[Finding]:
        """What our own rules find, as far as they are wanted anywhere in the file."""
        wanted = self._selection.names | self.settings.experimental | _asked(dockerfile)
        if wanted.isdisjoint(OWN_NAMES) or not dockerfile.stages:
            return
        from builder.lint import mistakes
        from builder.lint.survey import Survey

        survey = Survey(dockerfile, options.build_args, files=listing, contexts=options.contexts)
        yield from mistakes.findings(survey)
        if not wanted.isdisjoint(ASKED_NAMES):
            from builder.lint.checks import findings

            yield from findings(survey, wanted)

    def _keep(self, found: Iterable[Finding]) -> None:
        self._found += (
            finding
            for finding in found
            if self.settings.allows(finding.rule, finding.comments, selection=self._selection)
        )


def _asked(dockerfile: nodes.Dockerfile) -> frozenset[str]:
    """The rules that comments above instructions ask for."""
    found = frozenset[str]()
    for stage in dockerfile.stages:
        for node in (stage.base, *stage.instructions):
            if node.comments:
                found |= asked_in(node.comments)
    return found
