"""The plan: frozen steps in an order that puts every input before its users.

A plan is data alone. It can be printed, compared and tested without root, and nothing in it changes
while it is executed (design D4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.plan.ops import BindSpec, CacheSpec, Copy, Op, Run, SourceImage, SourceScratch, StepId
from records import Record

if TYPE_CHECKING:
    from builder.errors import Source
    from images.config import HistoryEntry
    from images.platform import Platform


class Step(Record):
    """One node of the build graph: an operation on top of ``parent``'s files."""

    id: StepId
    op: Op
    parent: StepId | None
    name: str
    """As Docker shows it: ``[build 2/5] RUN make``."""
    source: Source | None = None
    created_by: str = ""
    no_cache: bool = False
    """Done anew, whatever is on record."""

    @property
    def inputs(self) -> tuple[StepId, ...]:
        """Steps whose files this one reads besides its parent's, in the order of the operation."""
        match self.op:
            case Copy(from_=int() as step):
                return (step,)
            case Run():
                return tuple(
                    mount.from_
                    for mount in self.op.mounts
                    if isinstance(mount, BindSpec | CacheSpec) and isinstance(mount.from_, int)
                )
        return ()

    @property
    def makes_layer(self) -> bool:
        """Whether the result is the parent's files plus one layer."""
        return not isinstance(self.op, SourceImage | SourceScratch)


class HistoryDraft(Record):
    """A history entry to be dated later; ``step`` made its layer, None for an empty one."""

    created_by: str
    step: StepId | None = None
    inherited: HistoryEntry | None = None
    """Set for entries of a base image, which are kept as they are."""
    created: str | None = None


class ImageDraft(Record):
    """The image config without layers and dates; ``config`` is its inner object."""

    platform: Platform
    config: Mapping[str, Any]
    history: tuple[HistoryDraft, ...]
    author: str = ""


class PlannedStage(Record):
    """A stage that the target needs: its steps and metadata changes as ``lines`` for people."""

    index: int
    name: str | None
    base: str
    result: StepId
    lines: tuple[str, ...]


class PlanWarning(Record):
    """Something that works but is probably not meant."""

    message: str
    source: Source | None = None
    rule: str = ""
    """The lint rule that says so, if one does."""


class BasePin(Record):
    """A name that the plan resolved, and the platform it was resolved for."""

    reference: str
    platform: str


class Plan(Record):
    """What will be done for one target on one platform."""

    target: str
    platform: Platform
    steps: tuple[Step, ...]
    stages: tuple[PlannedStage, ...]
    result: StepId
    image: ImageDraft
    epoch: int | None = None
    """SOURCE_DATE_EPOCH in seconds, when one was set."""
    bases: tuple[BasePin, ...] = ()
    warnings: tuple[PlanWarning, ...] = ()

    def stood_on(self) -> frozenset[StepId]:
        """Steps whose files some later step reads, once it is executed."""
        needed: set[StepId] = set()
        for index in self.closure(self.result):
            step = self.steps[index]
            read = list(step.inputs)
            # COPY and WORKDIR only look at what is below them; commands read it.
            if step.parent is not None and isinstance(step.op, Run):
                read.append(step.parent)
            for start in read:
                current: StepId | None = start
                while current is not None and current not in needed:
                    needed.add(current)
                    current = self.steps[current].parent
        return frozenset(needed)

    def renewed(self) -> frozenset[StepId]:
        """Steps to be done anew, and all that stand on them: their old results do not count."""
        found: set[StepId] = set()
        for step in self.steps:
            below = (*step.inputs, *(() if step.parent is None else (step.parent,)))
            if step.no_cache or not found.isdisjoint(below):
                found.add(step.id)
        return frozenset(found)

    def closure(self, step: StepId) -> tuple[StepId, ...]:
        """``step`` and everything it stands on, in plan order."""
        needed: set[StepId] = set()
        pending = [step]
        while pending:
            current = self.steps[pending.pop()]
            if current.id in needed:
                continue
            needed.add(current.id)
            pending.extend(current.inputs)
            if current.parent is not None:
                pending.append(current.parent)
        return tuple(sorted(needed))
