"""What one build shares with caches elsewhere: its portable steps, each with all its keys.

A key is portable unless it holds the digest of a secret, which is made with this store's own key.
Such a step, and all that is defined by it, stays here with its layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.plan.ops import CacheSpec, Copy, Run, SourceImage, StepId
from builder.solver.elsewhere import Offer, Solved, SolvedStep
from builder.solver.records import StoredLayer

if TYPE_CHECKING:
    from pathlib import Path

    from builder.plan.model import Plan, Step
    from builder.solver.elsewhere import Elsewhere
    from builder.solver.identity import Identities
    from builder.solver.records import StepRecords
    from images.digest import Digest


class Sharing:
    """Tells ``elsewhere`` of the steps of one plan; safe to use from several threads."""

    def __init__(
        self, elsewhere: Elsewhere, plan: Plan, identities: Identities, records: StepRecords
    ) -> None:
        self._elsewhere = elsewhere
        self._plan = plan
        self._identities = identities
        self._records = records
        self._final = final_steps(plan)

    def begin(self) -> None:
        """Tell of what is known before anything is done: the image's base."""
        ops = (self._plan.steps[index].op for index in self._final)
        for op in ops:
            if isinstance(op, SourceImage):
                pairs = zip(op.base.config.diff_ids, op.base.layers, strict=True)
                for layer in (StoredLayer(*pair) for pair in pairs):
                    name = op.reference.familiar
                    offer = Offer(layer, name, final=True, portable=False, base=op.reference)
                    self._elsewhere.offer(offer)

    def known(self, step: Step, layer: StoredLayer) -> None:
        """A step's layer is in the store now, or was found."""
        portable = self._identities.portable(step)
        self._elsewhere.offer(Offer(layer, step.name, step.id in self._final, portable))

    def solved(self, *, executed: bool) -> None:
        """The target is finished; tell what others can use of it."""
        if self._elsewhere.exports:
            steps = solved_steps(self._plan, self._identities, self._records)
            mounts = cache_mounts(self._plan)
            self._elsewhere.solved(Solved(steps, base_blobs(self._plan), mounts, executed))

    def fill_mount(self, mount: str, directory: Path) -> bool:
        """As ``Elsewhere.fill_mount``."""
        return self._elsewhere.fill_mount(mount, directory)


def solved_steps(
    plan: Plan, identities: Identities, records: StepRecords, *, made_too: bool = True
) -> tuple[SolvedStep, ...]:
    """The portable steps behind the target whose layers are on record, in the plan's order.

    ``made_too`` adds the keys that only this build came to know, because it did the steps.
    """
    final = final_steps(plan)
    made: dict[tuple[StoredLayer, ...], list[bytes]] = {}
    for key, saved in records.made() if made_too else ():
        made.setdefault(saved, []).append(key)
    found = []
    for index in plan.closure(plan.result):
        step = plan.steps[index]
        if not step.makes_layer or not identities.portable(step):
            continue
        for key in _own_keys(step, identities):
            layers = records.find(key)
            if layers:
                keys = dict.fromkeys((key, *_by_content(step, layers, identities)))
                keys |= dict.fromkeys(made.get(layers, ()))
                found.append(SolvedStep(tuple(keys), layers, step.name, step.id in final))
    return tuple(found)


def _own_keys(step: Step, identities: Identities) -> tuple[bytes, ...]:
    keys = [identities.definition(step)]
    if isinstance(step.op, Copy) and step.op.link:
        keys.append(identities.linked(step))
    return tuple(keys)


def _by_content(
    step: Step, layers: tuple[StoredLayer, ...], identities: Identities
) -> tuple[bytes, ...]:
    """The key by content of a step that reads nothing but what it stands on and the context."""
    if step.inputs or (isinstance(step.op, Copy) and step.op.link):
        return ()
    return (identities.content(step, layers[:-1], ()),)


def final_steps(plan: Plan) -> frozenset[StepId]:
    """The steps whose layers make up the image: from the target down to its base."""
    found: set[StepId] = set()
    current: StepId | None = plan.result
    while current is not None:
        found.add(current)
        current = plan.steps[current].parent
    return frozenset(found)


def base_blobs(plan: Plan) -> frozenset[Digest]:
    """The layers of every image that the target stands on or copies from."""
    ops = (plan.steps[index].op for index in plan.closure(plan.result))
    return frozenset(
        layer.digest for op in ops if isinstance(op, SourceImage) for layer in op.base.layers
    )


def cache_mounts(plan: Plan) -> tuple[str, ...]:
    """The ids of the cache mounts that the target's commands have, sorted."""
    ops = (plan.steps[index].op for index in plan.closure(plan.result))
    mounts = (mount for op in ops if isinstance(op, Run) for mount in op.mounts)
    return tuple(sorted({mount.id for mount in mounts if isinstance(mount, CacheSpec)}))
