"""The closing summary of a build: what took the time, what layers weigh, why it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.progress.text import fit, harmless, pad
from engine.builds.history.steps import slowest_chain, steps_of, totals_of
from lading.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from engine.builds.history.document import Document
    from engine.builds.history.steps import TracedStep

SHOWN: Final = 8
"""Steps that are listed, the slowest; all of them where everything is asked for."""
NAME_WIDTH: Final = 50
WIDEST: Final = 120


def summary_text(document: Document, *, width: int, everything: bool = False) -> str:
    """A few lines of at most ``width`` columns; ``everything`` lists cached steps too."""
    steps = steps_of(document)
    totals = totals_of(document, steps)
    width = min(width, WIDEST)
    head = f"{seconds(totals.wall)}, {totals.cached} of {totals.steps} steps cached"
    if totals.work > totals.wall * 1.05:
        head += f", {seconds(totals.work)} of work side by side"
    if totals.made:
        head += f", {human_size(totals.made)} of new layers"
    lines = [fit(f"Summary: {head}", width)]
    listed = [step for step in steps if everything or step.outcome != "cached"]
    if not everything:
        listed = _slowest([step for step in listed if step.seconds >= 0.05 or step.size])
    lines += [_line(step, width) for step in listed]
    chain = slowest_chain(steps)
    if len(chain) > 1:
        total = seconds(sum(step.seconds for step in chain))
        slow = [step for step in chain if step.seconds >= 0.05]
        names = " > ".join(f"{short_name(step)} {seconds(step.seconds)}" for step in slow)
        lines.append(fit(f"  slowest chain {total}: {names}", width))
    return "\n".join(lines) + "\n"


def seconds(value: float) -> str:
    """``0.3s``, ``12.0s``, ``2m05s``."""
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}m{rest:02}s"


def short_name(step: TracedStep) -> str:
    """The place of a step in its Dockerfile, or as much of its name as is needed."""
    name = harmless(step.name)
    head, bracket, _ = name.partition("]")
    return head + bracket if bracket and not step.internal else name


def _slowest(steps: Sequence[TracedStep]) -> list[TracedStep]:
    chosen = sorted(steps, key=lambda step: -step.seconds)[:SHOWN]
    return sorted(chosen, key=lambda step: step.number)


def _line(step: TracedStep, width: int) -> str:
    took = "cached" if step.outcome == "cached" else seconds(step.seconds)
    size = "" if step.size is None else human_size(step.size)
    why = "" if step.outcome == "cached" else harmless(step.reason)
    room = min(NAME_WIDTH, max(10, (width - 22) * 2 // 3))
    text = f"  {took:>7} {size:>8}  {pad(harmless(step.name), room)}  {why}"
    return fit(text.rstrip(), width)
