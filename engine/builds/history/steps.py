"""The steps of a build on record: how long each took, and which chain of them took longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

    from engine.builds.history.document import Document


class TracedStep(Record):
    """One step. Times in seconds since the epoch; ``size`` in bytes of ``layer``'s blob.

    ``outcome`` is ``cached``, ``executed``, ``failed``, ``canceled``, ``interrupted`` or
    ``running``. ``changes`` are kind, name and how.
    """

    number: int
    name: str
    outcome: str
    started: float
    ended: float | None = None
    where: str = ""
    reason: str = ""
    inputs: tuple[int, ...] = ()
    changes: tuple[tuple[str, str, str], ...] = ()
    layer: str = ""
    size: int | None = None
    error: str = ""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """From a document; raises KeyError or TypeError where that is damaged."""
        known = {name: raw[name] for name in cls.__record_fields__ if name in raw}
        known["inputs"] = tuple(raw.get("inputs", ()))
        changes = raw.get("changes", ())
        known["changes"] = tuple((str(kind), str(name), str(how)) for kind, name, how in changes)
        return cls(**known)

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it runs."""
        return 0.0 if self.ended is None else max(0.0, self.ended - self.started)

    @property
    def internal(self) -> bool:
        """Whether the builder does it for itself, rather than the Dockerfile asking for it."""
        return self.name.startswith("[internal]") or not self.name.startswith("[")


class Totals(Record):
    """A build in a few numbers: seconds from start to end, seconds of all steps together, counts of
    the Dockerfile's steps, bytes of layers that were made.
    """

    wall: float
    work: float
    steps: int
    cached: int
    executed: int
    made: int


def steps_of(document: Document) -> tuple[TracedStep, ...]:
    """The steps in the order of their numbers."""
    found = [TracedStep.of(raw) for raw in document["steps"].values() if "name" in raw]
    return tuple(sorted(found, key=lambda step: step.number))


def totals_of(document: Document, steps: Sequence[TracedStep]) -> Totals:
    """The numbers of a build; one that runs ends with its latest step."""
    ends = [step.ended for step in steps if step.ended is not None]
    ended = document.get("ended") or max(ends, default=document["started"])
    own = [step for step in steps if not step.internal]
    return Totals(
        wall=max(0.0, ended - document["started"]),
        work=sum(step.seconds for step in steps),
        steps=len(own),
        cached=sum(step.outcome == "cached" for step in own),
        executed=sum(step.outcome != "cached" for step in own),
        made=sum(step.size or 0 for step in own if step.outcome == "executed"),
    )


def slowest_chain(steps: Sequence[TracedStep]) -> tuple[TracedStep, ...]:
    """The steps that rest on one another and took longest together, first things first.

    A build cannot be faster than that without changing one of them. Steps that took no time are
    left out, and what the builder does for itself where the Dockerfile's own steps took any.
    """
    own = [step for step in steps if not step.internal]
    steps = own if any(step.seconds for step in own) else steps
    best: dict[int, float] = {}
    before: dict[int, int] = {}
    known = {step.number: step for step in steps}
    # A step is numbered after all it reads, so one pass is enough.
    for step in sorted(steps, key=lambda step: step.number):
        below = [number for number in step.inputs if number in best]
        longest = max(below, key=lambda number: best[number], default=None)
        best[step.number] = step.seconds + (0.0 if longest is None else best[longest])
        if longest is not None:
            before[step.number] = longest
    number = max(best, key=lambda number: best[number], default=None)
    chain: list[TracedStep] = []
    while number is not None:
        chain.append(known[number])
        number = before.get(number)
    return tuple(step for step in reversed(chain) if step.seconds > 0)
