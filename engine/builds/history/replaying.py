"""A build on record as the events it was made of, so that any display can show it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.progress.events import (
    LayerStored,
    VertexCached,
    VertexDone,
    VertexFailed,
    VertexOutput,
    VertexStarted,
    WarningRaised,
)
from engine.builds.history.document import CANCELED
from engine.builds.history.steps import TracedStep, steps_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from builder.progress.events import Event
    from engine.builds.history.archive import LogLine
    from engine.builds.history.document import Document


def events_of(
    document: Document, log: Sequence[LogLine], *, only: Collection[int] | None = None
) -> Iterator[Event]:
    """In the order of time; ``only`` are the numbers of steps to show, None for all."""
    dated: list[tuple[float, int, Event]] = []
    for step in steps_of(document):
        if only is None or step.number in only:
            dated += _step_events(step)
    known = {event.vertex for _, _, event in dated if isinstance(event, VertexStarted)}
    for line in log:
        if line.step in known:
            output = VertexOutput(line.step, line.stream, line.text.encode(), line.time)
            dated.append((line.time, 1, output))
    # What happens at the same moment begins before it goes on, and ends last.
    yield from (event for _, _, event in sorted(dated, key=lambda item: item[:2]))
    if only is None:
        yield from (WarningRaised(message, where) for message, where in document["warnings"])


def _step_events(step: TracedStep) -> list[tuple[float, int, Event]]:
    if step.outcome == "cached":
        cached = VertexCached(
            step.number, step.name, step.started, step.reason, step.where, step.inputs
        )
        return [(step.started, 0, cached)]
    started = VertexStarted(
        step.number, step.name, step.started, step.reason, step.where, step.inputs
    )
    events: list[tuple[float, int, Event]] = [(step.started, 0, started)]
    if step.ended is None:
        return events
    if step.size is not None:
        layer = LayerStored(step.number, step.layer, step.size, step.ended)
        events.append((step.ended, 2, layer))
    ending: Event = VertexDone(step.number, step.ended)
    if step.outcome != "executed":
        cancelled = step.outcome == CANCELED
        message = step.error or step.outcome
        ending = VertexFailed(step.number, message, step.ended, cancelled)
    return [*events, (step.ended, 3, ending)]
