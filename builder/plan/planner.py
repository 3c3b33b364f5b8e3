"""The planner: a parsed Dockerfile and options in, a frozen plan out. It never touches a disk.

Stages are planned on demand, starting with the target, so what the target does not need is neither
resolved nor checked nor executed. Base images come through a ``BaseResolver``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.contexts import ImageContext
from builder.errors import PlanError, Source
from builder.plan.bases import BaseImages, adopt_config, familiar
from builder.plan.config import ConfigDraft
from builder.plan.globals import GlobalScope
from builder.plan.labels import step_label
from builder.plan.model import (
    ImageDraft,
    Plan,
    PlannedStage,
    PlanWarning,
    Step,
)
from builder.plan.named import ContextNames
from builder.plan.names import StageNames
from builder.plan.observer import PlanObserver
from builder.plan.ops import SCRATCH, Op, Origin, StepId
from builder.plan.options import PlanOptions
from builder.plan.roots import WHOLE, RootSteps
from builder.plan.scope import (
    StageScope,
    split_environment,
)
from builder.plan.stage import ENTRY_WEIGHT, StageReader
from builder.plan.target import check_syntax, find_stages, find_target
from builder.plan.triggers import take_triggers
from dockerfile_grammar import nodes
from images.platform import Platform
from records import Record, replace

if TYPE_CHECKING:
    from builder.bases import BaseResolver
    from builder.contexts import LocalContext

DEPTH_LIMIT = 45
"""Stages that name one another through variables; the planner calls itself for each."""

PLAN_LIMIT = 32 << 20
"""Characters in the steps and the history of one plan, which may be quadratic in the file."""

LAYER_NODES = (nodes.Run, nodes.Copy, nodes.Add, nodes.Workdir)


class StageOutcome(Record):
    """What a finished stage hands to stages that start from it."""

    result: StepId
    draft: ConfigDraft
    env: Mapping[str, str]
    args: Mapping[str, str | None]
    platform: Platform


class _Start(Record):
    """The state of a stage after FROM; ``step`` is None when the base is an image.

    ``whole`` says that this is all of the stage: a named context stands in for it.
    """

    base: str
    platform: Platform
    draft: ConfigDraft
    scope: StageScope
    step: StepId | None
    whole: bool = False


def plan(
    dockerfile: nodes.Dockerfile,
    lines: Sequence[str],
    options: PlanOptions,
    resolver: BaseResolver,
    *,
    observer: PlanObserver | None = None,
    every_stage: bool = False,
) -> Plan:
    """Plan the target of ``options``, or the last stage. ``lines`` are the file's, for messages.

    ``every_stage`` reads the stages that the target does not need as well, in the order of the
    file, so that ``observer`` sees them.

    Raises:
        TargetUnknownError: no such stage.
        PlanError: the Dockerfile says something that cannot be built; carries the lines at fault.
        ImagesError: a base image cannot be resolved.
    """
    watching = observer or PlanObserver()
    planner = _Planner(dockerfile, tuple(lines), options, resolver, watching)
    if every_stage:
        planner.plan_every_stage()
    return planner.plan()


class _Planner:
    def __init__(
        self,
        dockerfile: nodes.Dockerfile,
        lines: tuple[str, ...],
        options: PlanOptions,
        resolver: BaseResolver,
        observer: PlanObserver,
    ) -> None:
        self.options = options
        self.observer = observer
        self.escape = dockerfile.escape
        self._dockerfile = dockerfile
        self._lines = lines
        self._steps: list[Step] = []
        self._stages: dict[int, PlannedStage] = {}
        self._outcomes: dict[int, StageOutcome] = {}
        self._bases = BaseImages(resolver, self.source)
        self._warnings: list[PlanWarning] = []
        self._depth = 0
        self._weight = 0
        self._contexts = ContextNames(options.contexts)
        replaced = self._contexts.replaced(dockerfile.stages)
        self._names = StageNames(dockerfile.stages, replaced)
        self._roots = RootSteps(self.add_step)
        check_syntax(dockerfile, self.source, options.build_args)
        self._target = find_target(dockerfile, options)
        self._anew = find_stages(dockerfile, options)
        self._globals = GlobalScope(dockerfile, options, self._target, self.source)

    def plan_every_stage(self) -> None:
        for stage in self._dockerfile.stages:
            self._outcome(stage.index)

    def plan(self) -> Plan:
        outcome = self._outcome(self._target.index)
        draft = outcome.draft.fork()
        draft.set_labels(self.options.labels)
        platform = outcome.platform.on_system(draft.os_version, draft.os_features)
        self._warn_unused()
        return Plan(
            target=self._target.name or "",
            platform=outcome.platform,
            steps=tuple(self._steps),
            stages=tuple(self._stages[index] for index in sorted(self._stages)),
            result=outcome.result,
            image=ImageDraft(platform, draft.config, tuple(draft.history), draft.author),
            epoch=self._globals.epoch,
            bases=tuple(self._bases.pins),
            warnings=tuple(self._warnings),
        )

    # What a StageReader asks of its surroundings.

    def source(self, *locations: nodes.SourceRange) -> Source:
        ranges = tuple((location.start, location.end) for location in locations)
        return Source(self.options.filename, self._lines, ranges)

    def add_step(
        self,
        op: Op,
        parent: StepId | None,
        name: str,
        *,
        source: Source | None = None,
        created_by: str = "",
        no_cache: bool = False,
    ) -> StepId:
        self._steps.append(Step(len(self._steps), op, parent, name, source, created_by, no_cache))
        return len(self._steps) - 1

    def weigh(self, size: int, location: nodes.SourceRange) -> None:
        self._weight += size
        if self._weight > PLAN_LIMIT:
            raise PlanError(
                f"the plan grows beyond {PLAN_LIMIT >> 20} MB of environment and history",
                source=self.source(location),
                fix="use fewer variables, or fewer instructions that repeat them",
            )

    def copy_source(self, name: str, stage: int, location: nodes.SourceRange) -> Origin:
        if name.isascii() and name.isdigit():
            index = int(name)
            if index >= len(self._dockerfile.stages):
                raise PlanError(f"invalid stage index {name}", source=self.source(location))
            return self._earlier(index, stage, name, location)
        return self._named_source(name, stage, location)

    def mount_source(self, name: str, stage: int, location: nodes.SourceRange) -> Origin:
        origin = self._context_origin(name, stage)
        if origin is not None:
            return origin
        if name.lower() == "context" and self._names.anywhere("context", stage) is None:
            return None
        return self._named_source(name, stage, location)

    def _context_origin(self, name: str, stage: int) -> Origin:
        """The named context that a name means; None where it means none."""
        if not name or not self._contexts:
            return None
        platform = self._platform_here(stage)
        found = self._contexts.find(name, platform)
        if found is None:
            return None
        key, context = found
        if not isinstance(context, ImageContext):
            return key
        resolved = self._bases.resolve_reference(context.reference, platform)
        return self._roots.context_image(key, context.reference, platform, resolved)

    def _named_source(self, name: str, stage: int, location: nodes.SourceRange) -> Origin:
        if not name:
            raise PlanError("the name after from= is empty", source=self.source(location))
        origin = self._context_origin(name, stage)
        if origin is not None:
            return origin
        index = self._names.anywhere(name.lower(), stage)
        if index is not None:
            return self._earlier(index, stage, name, location)
        if name.lower() == SCRATCH:
            return self._roots.scratch()
        platform = self._platform_here(stage)
        return self._image_step(name, platform, f"FROM {familiar(name)}", location)

    def _earlier(self, index: int, stage: int, name: str, location: nodes.SourceRange) -> Origin:
        here = self._dockerfile.stages[stage]
        if index == stage:
            raise PlanError(
                f"circular dependency detected on stage: {here.name or stage}",
                source=self.source(location),
            )
        if index > stage:
            raise PlanError(
                f'cannot copy from stage "{name}", it needs to be defined before current stage '
                f'"{here.name or stage}"',
                source=self.source(location),
                fix=f"move the stage {name} above this one",
            )
        origin = self._context_origin(self._dockerfile.stages[index].name or "", index)
        return self._outcome(index).result if origin is None else origin

    # Stages.

    def _outcome(self, index: int) -> StageOutcome:
        """A finished stage. The grammar of references lets a stage lead to earlier ones alone, so
        this ends.
        """
        known = self._outcomes.get(index)
        if known is not None:
            return known
        if self._depth >= DEPTH_LIMIT:
            stage = self._dockerfile.stages[index]
            raise PlanError(
                f"stages refer to one another more than {DEPTH_LIMIT} deep through variables",
                source=self.source(stage.base.range),
                fix="name the stages in FROM and --from without variables",
            )
        if self._depth == 0:
            for earlier in self._names.landings(index):
                self._enter(earlier)
        return self._enter(index)

    def _enter(self, index: int) -> StageOutcome:
        known = self._outcomes.get(index)
        if known is None:
            self._depth += 1
            known = self._outcomes[index] = self._plan_stage(self._dockerfile.stages[index])
            self._depth -= 1
        return known

    def _plan_stage(self, stage: nodes.Stage) -> StageOutcome:
        start = self._start(stage)
        start.draft.created = _date(self._globals.epoch)
        start.draft.set_env(start.scope.env)
        triggers: list[nodes.Instruction] = []
        instructions: Sequence[nodes.Instruction] = ()
        if not start.whole:
            triggers = take_triggers(start.draft, stage.base, self.source)
            instructions = stage.instructions
        layers = sum(isinstance(node, LAYER_NODES) for node in (*triggers, *instructions))
        counted = 1 if start.step is None else 0
        many = len(self._dockerfile.stages) > 1
        label = f"{stage.name or f'stage-{stage.index}'} " if many else ""
        step = start.step
        if step is None:
            shown = step_label(label, start.platform, self.options, start.scope.visible)
            name = f"[{shown}1/{layers + 1}] FROM {familiar(start.base)}"
            step = self._image_step(start.base, start.platform, name, stage.base.range)
        reader = StageReader(
            around=self,
            index=stage.index,
            label=label,
            total=layers + counted,
            scope=start.scope,
            draft=start.draft,
            step=step,
            platform=start.platform,
            number=counted,
            no_cache=stage.index in self._anew,
        )
        reader.read(triggers, trigger=True)
        reader.read(instructions)
        self._globals.used |= start.scope.used
        self._stages[stage.index] = PlannedStage(
            stage.index, stage.name, start.base, reader.step, tuple(reader.lines)
        )
        scope = start.scope
        return StageOutcome(reader.step, start.draft, scope.env, scope.args, start.platform)

    def _start(self, stage: nodes.Stage) -> _Start:
        """What FROM gives a stage: another stage's outcome, nothing, or an image."""
        platform = self._globals.platform(stage.base, self.options.platform)
        scope = StageScope(self.options.build_args, self._globals.values)
        replaced = self._contexts.find(stage.name or "", platform)
        base = (stage.name or "") if replaced else self._globals.base_name(stage.base)
        found = replaced or self._contexts.find(base, platform)
        if found is not None:
            self.observer.entered(stage, None)
            start = self._start_in_context(base, platform, scope, *found)
            return replace(start, whole=replaced is not None)
        parent = self._names.base(base, stage.index)
        self.observer.entered(stage, parent)
        if parent is not None:
            outcome = self._outcome(parent)
            scope.enter(outcome.env, outcome.args)
            self.weigh(ENTRY_WEIGHT * outcome.draft.extent, stage.base.range)
            if stage.base.platform is None:
                platform = outcome.platform
            return _Start(base, platform, outcome.draft.fork(), scope, outcome.result)
        draft = ConfigDraft()
        if base == SCRATCH:
            draft.config["WorkingDir"] = "/"
            scope.enter({}, {})
            return _Start(base, platform, draft, scope, self._roots.scratch())
        resolved = self._bases.resolve(base, platform, stage.base.range)
        actual = resolved.config.platform
        self.observer.resolved(stage, base, expected=platform, actual=actual)
        adopt_config(draft, resolved)
        scope.enter(split_environment(draft.config.get("Env") or ()), {})
        return _Start(base, platform, draft, scope, None)

    def _start_in_context(
        self,
        base: str,
        platform: Platform,
        scope: StageScope,
        key: str,
        context: LocalContext | ImageContext,
    ) -> _Start:
        """A named context in place of what FROM names, or of the whole stage."""
        draft = ConfigDraft()
        if isinstance(context, ImageContext):
            resolved = self._bases.resolve_reference(context.reference, platform)
            adopt_config(draft, resolved)
            scope.enter(split_environment(draft.config.get("Env") or ()), {})
            step = self._roots.context_image(key, context.reference, platform, resolved)
            return _Start(base, platform, draft, scope, step)
        draft.config["WorkingDir"] = "/"
        draft.created = _date(self._globals.epoch)
        scope.enter({}, {})
        step = self._roots.directory(key)
        draft.layers = 1
        draft.record(WHOLE, step)
        return _Start(base, platform, draft, scope, step)

    def _platform_here(self, stage: int) -> Platform:
        base = self._dockerfile.stages[stage].base
        return self._globals.platform(base, self.options.platform)

    # Images.

    def _image_step(
        self, text: str, platform: Platform, name: str, location: nodes.SourceRange
    ) -> StepId:
        resolved = self._bases.resolve(text, platform, location)
        reference = self._bases.reference(text, location)
        return self._roots.image(reference, platform, resolved, name, self.source(location))

    def _warn_unused(self) -> None:
        if self.options.build_args:
            from builder.plan.unused import unused_arguments

            self._warnings += unused_arguments(
                self._dockerfile,
                self.options.build_args,
                used=self._globals.used,
                known=self._globals.values,
            )
        if len(self._stages) == len(self._dockerfile.stages):
            self._warnings += self._contexts.unused()


def _date(epoch: int | None) -> str | None:
    from builder.dates import timestamp

    return None if epoch is None else timestamp(epoch)
