"""Two builds side by side: what went in differently, and what each step made of it.

Steps are paired by what they say, and by their place in the Dockerfile where an instruction was
edited, so an inserted line does not make everything below it look new.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from engine.builds.history.steps import TracedStep, steps_of, totals_of
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.builds.history.document import Document
    from engine.builds.history.steps import Totals

SLOWER: Final = 0.1
"""Seconds by which a step's time must differ to be told."""
CONTEXT_LINES: Final = 2


class Difference(Record):
    """Something named that differs; empty text is for what one of them does not have."""

    what: str
    name: str
    before: str
    after: str


class StepPair(Record):
    """The same step in both builds; None where one of them has none."""

    before: TracedStep | None
    after: TracedStep | None

    @property
    def name(self) -> str:
        """What it is called, by the later build if it is there."""
        step = self.after or self.before
        assert step is not None
        return step.name

    @property
    def differs(self) -> bool:
        """Whether outcome, layer or time are others."""
        first, second = self.before, self.after
        if first is None or second is None:
            return True
        slower = abs(first.seconds - second.seconds) >= SLOWER
        layers = bool(first.layer and second.layer and first.layer != second.layer)
        return first.outcome != second.outcome or layers or slower


class Comparison(Record):
    """All that differs between two builds, the earlier one first."""

    inputs: tuple[Difference, ...]
    dockerfile: tuple[str, ...]
    """Lines of a unified diff; empty where the Dockerfiles are the same."""
    steps: tuple[StepPair, ...]
    """Those that differ, in the order of the later build."""
    totals: tuple[Totals, Totals]
    same_result: bool


def compare(before: Document, after: Document) -> Comparison:
    """What changed from one build to the other."""
    first, second = steps_of(before), steps_of(after)
    results = [document.get("result", {}).get("digest") for document in (before, after)]
    return Comparison(
        inputs=tuple(_inputs(before, after)),
        dockerfile=tuple(_dockerfile(before, after)),
        steps=tuple(pair for pair in _pairs(first, second) if pair.differs),
        totals=(totals_of(before, first), totals_of(after, second)),
        same_result=results[0] is not None and results[0] == results[1],
    )


def _inputs(before: Document, after: Document) -> Iterator[Difference]:
    for key in sorted({*before["request"], *after["request"]}):
        old, new = before["request"].get(key), after["request"].get(key)
        if old == new:
            continue
        if isinstance(old or new, dict):
            yield from _named(key, old or {}, new or {})
        else:
            yield Difference("option", key, _text(old), _text(new))
    yield from _named("material", _materials(before), _materials(after))
    sizes = [document.get("context") or {} for document in (before, after)]
    yield from _named("context", sizes[0], sizes[1])


def _named(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Difference(what, name, _text(old.get(name)), _text(new.get(name)))


def _materials(document: Document) -> dict[str, str]:
    found = document.get("materials", ())
    return {
        " ".join(filter(None, (item.get("uri", ""), item.get("platform", "")))): item["digest"]
        for item in found
        if item.get("digest")
    }


def _dockerfile(before: Document, after: Document) -> list[str]:
    old, new = (document.get("definition", {}) for document in (before, after))
    lines = difflib.unified_diff(
        old.get("text", "").splitlines(),
        new.get("text", "").splitlines(),
        old.get("name", ""),
        new.get("name", ""),
        lineterm="",
        n=CONTEXT_LINES,
    )
    return list(lines)


def _pairs(first: Sequence[TracedStep], second: Sequence[TracedStep]) -> list[StepPair]:
    """By instruction where it is the same, then by place; what is left is new or gone."""
    matches: dict[int, TracedStep] = {}
    for key in (_instruction, _place):
        taken = {step.number for step in matches.values()}
        known = {key(step): step for step in reversed(first) if step.number not in taken}
        for step in second:
            if step.number not in matches and (match := known.pop(key(step), None)) is not None:
                matches[step.number] = match
    taken = {step.number for step in matches.values()}
    pairs = [StepPair(matches.get(step.number), step) for step in second]
    return [*pairs, *(StepPair(step, None) for step in first if step.number not in taken)]


def _place(step: TracedStep) -> str:
    """Stage and number: ``build 2`` of ``[build 2/3] RUN make``, else the whole name."""
    head, bracket, _ = step.name.removeprefix("[").partition("] ")
    return head.rpartition("/")[0] if bracket and not step.internal else step.name


def _instruction(step: TracedStep) -> str:
    stage = _place(step).rpartition(" ")[0]
    return f"{stage} {step.name.partition('] ')[2] or step.name}"


def _text(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
