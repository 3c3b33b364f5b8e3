"""The verdict on every step of a build: answered from the cache or done, and why."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from builder.plan.ops import Copy, Run, SourceImage, SourceScratch, StepId, Workdir
from builder.request import Change, StepVerdict
from builder.solver.explain import (
    NOT_ASKED,
    NOT_NEEDED,
    UNCHANGED,
    Components,
    differences,
    explain_miss,
    nearest,
)
from builder.solver.records import slot_key
from records import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.plan.model import Plan, Step
    from builder.solver.identity import Identities
    from builder.solver.records import KeyValueStore

CACHED, EXECUTED, OPEN = "cached", "executed", "open"


class Verdicts:
    """Gathers verdicts from several threads; ``slot`` names the Dockerfile and its place."""

    def __init__(
        self, plan: Plan, identities: Identities, values: KeyValueStore, slot: Sequence[str]
    ) -> None:
        self._plan = plan
        self._identities = identities
        self._values = values
        self._slot = tuple(slot)
        self._lock = threading.Lock()
        self._found: dict[StepId, StepVerdict] = {}

    def cached(self, step: Step, reason: str) -> None:
        """The step was answered, and so was everything below that has no verdict yet."""
        with self._lock:
            for index in self._plan.closure(step.id):
                below = self._plan.steps[index]
                if isinstance(below.op, SourceScratch) or index in self._found:
                    continue
                why = reason if index == step.id else UNCHANGED
                if isinstance(below.op, SourceImage):
                    why = f"base image {below.op.base.descriptor.digest}"
                self._found[index] = _verdict(below, CACHED, why)

    def settle(self, step: Step) -> None:
        """Everything below an answered step counts as answered, whatever was said of it before."""
        with self._lock:
            for index in self._plan.closure(step.id):
                verdict = self._found.get(index)
                if verdict is not None and verdict.outcome != CACHED:
                    self._found[index] = _verdict(self._plan.steps[index], CACHED, NOT_NEEDED)

    def executed(self, step: Step, *, outcome: str = EXECUTED, asked: bool = True) -> str:
        """The step has to be done; returns why. ``asked`` says whether the cache counted."""
        reason, changes = (NOT_ASKED, ()) if not asked else self._compare(step)
        with self._lock:
            self._found[step.id] = _verdict(step, outcome, reason, changes)
        return reason

    def measured(
        self, step: Step, *, seconds: float | None = None, size: int | None = None
    ) -> None:
        """How long a step took, and the bytes of its layer, as they become known."""
        told = {"seconds": seconds, "size": size}
        with self._lock:
            verdict = self._found.get(step.id)
            if verdict is not None:
                changes = {name: value for name, value in told.items() if value is not None}
                self._found[step.id] = replace(verdict, **changes)

    def remember(self, step: Step) -> None:
        """Keep the step's components for the next comparison."""
        encoded = self._identities.components(step).encode()
        for slot in self._slots(step):
            self._values.put(slot, "slot", encoded)

    def of(self, step: StepId) -> StepVerdict | None:
        """The verdict on one step, if there is one already."""
        with self._lock:
            return self._found.get(step)

    def all(self) -> tuple[StepVerdict, ...]:
        """In the order of the plan."""
        with self._lock:
            return tuple(self._found[index] for index in sorted(self._found))

    def _compare(self, step: Step) -> tuple[str, tuple[Change, ...]]:
        now = self._identities.components(step)
        # Most often both slots hold the same.
        raws = dict.fromkeys(self._values.get(slot) for slot in self._slots(step))
        before = nearest([Components.decode(raw) for raw in raws if raw is not None], now)
        if before is None:
            return explain_miss(None, now), ()
        changes = differences(before, now)
        if all(change.kind == "step" for change in changes):
            cause = self._cause(step)
            if cause is not None:
                return f"{cause.name} was done anew", (Change("step", cause.name),)
        return explain_miss(before, now), changes

    def _cause(self, step: Step) -> StepVerdict | None:
        """The first step below this one that was not cached, and for a reason of its own."""
        below = self._plan.closure(step.id)[:-1]
        found = (self.of(index) for index in below)
        return next((verdict for verdict in found if verdict and verdict.outcome != CACHED), None)

    def _slots(self, step: Step) -> tuple[bytes, bytes]:
        """Where components are kept: by the step's number, and by what the instruction says."""
        position = step.name.partition("]")[0]
        stage = position.rpartition(" ")[0]
        return (
            slot_key((*self._slot, position)),
            slot_key((*self._slot, stage, *_words(step))),
        )


def _words(step: Step) -> tuple[str, ...]:
    """What an instruction does, whatever it depends on."""
    match step.op:
        case Run(args=args):
            return ("run", *args)
        case Copy():
            return ("copy", *step.op.sources, step.op.destination)
        case Workdir(path=path):
            return ("workdir", path)
    return ()


def _verdict(
    step: Step, outcome: str, reason: str, changes: tuple[Change, ...] = ()
) -> StepVerdict:
    where = step.source.where if step.source is not None else ""
    return StepVerdict(step.name, outcome, reason, where, changes)
