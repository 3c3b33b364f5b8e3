"""Steps as the build's display and its verdicts are told of them: each once, with what it rests on.

A step that is answered stands for everything below it, so those are shown with it. The layers of a
result are those of its chain of steps, which tells the layer of each.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.plan.ops import SourceImage, SourceScratch, StepId
from builder.progress.events import LayerStored

if TYPE_CHECKING:
    from builder.plan.model import Plan, Step
    from builder.progress.tracker import Tracker, Vertex
    from builder.remote.sharing import Sharing
    from builder.solver.records import StoredLayer
    from builder.solver.verdicts import Verdicts


class Showing:
    """Told by several threads."""

    def __init__(
        self, plan: Plan, tracker: Tracker, verdicts: Verdicts, sharing: Sharing | None = None
    ) -> None:
        """``sharing`` is told of the layers that were found."""
        self._sharing = sharing
        self._plan = plan
        self._tracker = tracker
        self._verdicts = verdicts
        self._lock = threading.Lock()
        self._vertices: dict[StepId, int] = {}
        self._began: dict[StepId, float] = {}

    def cached(self, step: Step, reason: str, layers: Sequence[StoredLayer] = ()) -> None:
        """The step was answered with ``layers``, and so was everything only it stood for."""
        self._verdicts.cached(step, reason)
        own = self._own_layers(step, layers)
        for index in self._plan.closure(step.id):
            below = self._plan.steps[index]
            with self._lock:
                if index in self._vertices or isinstance(below.op, SourceScratch):
                    continue
                verdict = self._verdicts.of(index)
                vertex = self._vertices[index] = self._tracker.cached(
                    below.name,
                    verdict.reason if verdict is not None else reason,
                    where=below.source.where if below.source is not None else "",
                    inputs=self._inputs(below),
                )
            if index in own:
                self._tell_layer(below, vertex, own[index])
                if self._sharing is not None:
                    self._sharing.known(below, own[index])

    def begin(self, step: Step, *, asked: bool) -> Vertex:
        """The step has to be done; ``asked`` says whether the cache counted."""
        reason = self._verdicts.executed(step, asked=asked)
        self._verdicts.remember(step)
        verdict = self._verdicts.of(step.id)
        with self._lock:
            vertex = self._tracker.start(
                step.name,
                reason,
                where=step.source.where if step.source is not None else "",
                inputs=self._inputs(step),
                changes=verdict.changes if verdict is not None else (),
            )
            self._vertices[step.id] = vertex.number
            self._began[step.id] = self._tracker.now()
        return vertex

    def stored(self, step: Step, layer: StoredLayer) -> None:
        """The layer of a step that was done is in the store."""
        self._tell_layer(step, self._vertices[step.id], layer)

    def done(self, step: Step, vertex: Vertex) -> None:
        """The step ended well."""
        vertex.done()
        self._verdicts.measured(step, seconds=self._tracker.now() - self._began[step.id])

    def _tell_layer(self, step: Step, vertex: int, layer: StoredLayer) -> None:
        blob = layer.descriptor
        now = self._tracker.now()
        self._tracker.send(LayerStored(vertex, str(blob.digest), blob.size, now))
        self._verdicts.measured(step, size=blob.size)

    def _inputs(self, step: Step) -> tuple[int, ...]:
        needed = (*(() if step.parent is None else (step.parent,)), *step.inputs)
        return tuple(self._vertices[index] for index in needed if index in self._vertices)

    def _own_layers(self, step: Step, layers: Sequence[StoredLayer]) -> dict[StepId, StoredLayer]:
        """Whose layer is whose, from the top of the chain down to its base image."""
        found: dict[StepId, StoredLayer] = {}
        rest = list(layers)
        while rest and not isinstance(step.op, SourceImage | SourceScratch):
            found[step.id] = rest.pop()
            if step.parent is None:
                break
            step = self._plan.steps[step.parent]
        return found
