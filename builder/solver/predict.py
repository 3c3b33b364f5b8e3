"""What a build would do, step by step, told from the records: nothing is executed or unpacked.

A step that copies from files which are still to be made may turn out the same as before; its
verdict stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.plan.ops import Copy, SourceImage, SourceScratch, StepId
from builder.solver.explain import SAME_FILES, UNCHANGED
from builder.solver.records import StoredLayer
from builder.solver.verdicts import EXECUTED, OPEN, Verdicts

if TYPE_CHECKING:
    from builder.plan.model import Plan, Step
    from builder.request import StepVerdict
    from builder.solver.identity import Identities
    from builder.solver.records import StepRecords

Layers = tuple[StoredLayer, ...]


def predict(
    plan: Plan,
    identities: Identities,
    records: StepRecords,
    verdicts: Verdicts,
    *,
    no_cache: bool = False,
) -> tuple[StepVerdict, ...]:
    """The verdicts on the steps that the target needs; ``verdicts`` is empty before.

    Raises:
        BuildInputError: a source is not in the context.
    """
    forecast = _Forecast(plan, identities, records, verdicts, plan.renewed(), no_cache)
    for index in plan.closure(plan.result):
        # From the bottom, so that a long chain of steps is no deep recursion.
        forecast.layers_of(plan.steps[index])
        if forecast.known[index] is not None:
            verdicts.settle(plan.steps[index])
    return verdicts.all()


@dataclass(slots=True)
class _Forecast:
    plan: Plan
    identities: Identities
    records: StepRecords
    verdicts: Verdicts
    renewed: frozenset[StepId]
    no_cache: bool
    known: dict[StepId, Layers | None] = field(default_factory=dict)

    def layers_of(self, step: Step) -> Layers | None:
        """The layers of a step's result as far as they are on record."""
        if step.id not in self.known:
            self.known[step.id] = self._find(step)
        return self.known[step.id]

    def _find(self, step: Step) -> Layers | None:
        match step.op:
            case SourceScratch():
                return ()
            case SourceImage(base=base):
                self.verdicts.cached(step, UNCHANGED)
                pairs = zip(base.config.diff_ids, base.layers, strict=True)
                return tuple(StoredLayer(diff_id, layer) for diff_id, layer in pairs)
        anew = self.no_cache or step.no_cache
        if anew:
            self.verdicts.executed(step, asked=False)
            return None
        parent = None if step.parent is None else self.known[step.parent]
        inputs = [self.known[index] for index in step.inputs]
        found = self._by_definition(step)
        if found is not None:
            self.verdicts.cached(step, UNCHANGED)
            return found
        found = self._by_content(step, parent, inputs)
        if found is not None:
            self.verdicts.cached(step, SAME_FILES)
            return found
        self.verdicts.executed(step)
        if inputs and self._hangs_on_files(step):
            self.verdicts.executed(step, outcome=OPEN)
        return None

    def _by_definition(self, step: Step) -> Layers | None:
        if step.id in self.renewed:
            return None
        return self.records.find(self.identities.definition(step))

    def _by_content(
        self, step: Step, parent: Layers | None, inputs: list[Layers | None]
    ) -> Layers | None:
        if parent is None:
            return None
        if isinstance(step.op, Copy) and step.op.link and None not in inputs:
            own = self.records.find(self.identities.linked(step))
            return None if own is None else (*parent, own[-1])
        if inputs:
            return None
        return self.records.find(self.identities.content(step, parent, ()))

    def _hangs_on_files(self, step: Step) -> bool:
        """Whether nothing but the files of other steps can make this one differ."""
        verdict = self.verdicts.of(step.id)
        assert verdict is not None
        assert verdict.outcome == EXECUTED
        kinds = {change.kind for change in verdict.changes}
        return bool(kinds) and kinds <= {"step", "base"}
