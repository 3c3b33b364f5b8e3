"""The verdicts on a build's steps, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builder.request import StepVerdict

SHOWN_CHANGES = 10
"""Changes listed below a step, when there are several."""
_DONE = {"cached": "cached", "executed": "executed", "open": "open"}
_PLANNED = {"cached": "cached", "executed": "to do", "open": "perhaps"}


def explanation_text(steps: Sequence[StepVerdict], *, planned: bool = False) -> str:
    """A line for each step, what changed below it, and a count. ``planned``: nothing was done."""
    words = _PLANNED if planned else _DONE
    width = max(map(len, words.values()))
    lines = []
    for step in steps:
        place = f"{step.where}: " if step.where else ""
        lines.append(f"{words[step.outcome]:{width}} {step.name}")
        lines.append(f"{'':{width}}   {place}{step.reason}")
        if len(step.changes) > 1:
            shown = step.changes[:SHOWN_CHANGES]
            lines += [f"{'':{width}}   - {item.kind} {item.name} {item.how}" for item in shown]
            if len(step.changes) > len(shown):
                lines.append(f"{'':{width}}   - and {len(step.changes) - len(shown)} more")
    cached = sum(step.outcome == "cached" for step in steps)
    lines.append(f"{cached} of {len(steps)} steps cached")
    return "\n".join(lines) + "\n"


def explanation_json(steps: Sequence[StepVerdict]) -> list[dict[str, Any]]:
    """All that is known, as JSON values."""
    return [
        {
            "name": step.name,
            "where": step.where,
            "outcome": step.outcome,
            "reason": step.reason,
            "seconds": round(step.seconds, 3),
            "size": step.size,
            "changes": [
                {"kind": item.kind, "name": item.name, "how": item.how} for item in step.changes
            ],
        }
        for step in steps
    ]
