"""Builds on record as tables, as text, and as the JSON that readers of buildx' history know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from builder.progress.text import fit, harmless
from engine.builds.history.steps import slowest_chain, steps_of, totals_of
from lading.render.summary import seconds, short_name
from lading.render.table import tabulate
from lading.render.units import human_duration, human_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.builds.history.comparing import Comparison, StepPair
    from engine.builds.history.document import Document
    from engine.builds.history.steps import TracedStep

NAME_WIDTH: Final = 32
STEP_WIDTH: Final = 60
NANOSECONDS: Final = 1_000_000_000
"""Durations in Go are counted in them."""


def row(document: Document, *, whole: bool) -> dict[str, str]:
    """One line of ``ls``, by buildx' field names; ``whole`` cuts nothing off."""
    steps = steps_of(document)
    totals = totals_of(document, steps)
    name = harmless(document["name"])
    age = datetime.now(UTC) - _moment(document["started"])
    return {
        "Ref": document["ref"],
        "Name": name if whole else fit(name, NAME_WIDTH),
        "Status": document["status"].capitalize(),
        "CreatedAt": f"{human_duration(max(age, timedelta(0)))} ago",
        "Duration": seconds(totals.wall),
        "Steps": str(totals.steps),
        "Cached": str(totals.cached),
        "Target": harmless(document["request"].get("target", "")),
        "Digest": document.get("result", {}).get("digest", ""),
        "Error": harmless(document.get("error", {}).get("message", "").partition("\n")[0]),
    }


def inspected(document: Document) -> dict[str, Any]:
    """With the names of buildx' ``history inspect``; Steps, Warnings, Result and Log are ours."""
    request, definition = document["request"], document.get("definition", {})
    steps = steps_of(document)
    totals = totals_of(document, steps)
    ended = document.get("ended")
    return {
        "Name": document["name"],
        "Ref": document["ref"],
        "Context": request.get("context", ""),
        "Dockerfile": definition.get("name", ""),
        "DockerfileDigest": definition.get("digest", ""),
        "Target": request.get("target", ""),
        "Platform": request.get("platforms", []),
        "StartedAt": _moment(document["started"]).isoformat(),
        "CompletedAt": None if ended is None else _moment(ended).isoformat(),
        "Duration": round(totals.wall * NANOSECONDS),
        "Status": document["status"],
        "Error": _error(document),
        "NumCompletedSteps": sum(step.outcome in ("cached", "executed") for step in steps),
        "NumTotalSteps": len(steps),
        "NumCachedSteps": totals.cached,
        "BuildArgs": _pairs(request.get("args", {})),
        "Labels": _pairs(request.get("labels", {})),
        "Config": {
            "Network": request.get("network", ""),
            "NoCache": bool(request.get("no_cache")),
            "NoCacheFilter": request.get("no_cache_stages", []),
            "Secrets": request.get("secrets", []),
            "SSH": request.get("ssh", []),
        },
        "Materials": [
            {"URI": item.get("uri", ""), "Digests": [it for it in [item.get("digest")] if it]}
            for item in document.get("materials", ())
        ],
        "Tags": request.get("tags", []),
        "ContextSize": document.get("context"),
        "Warnings": [
            {"Message": message, "Where": where} for message, where in document["warnings"]
        ],
        "Result": document.get("result"),
        "Log": document.get("log"),
        "Steps": [_step(step) for step in steps],
    }


def pretty(document: Document) -> str:
    """For people."""
    steps = steps_of(document)
    shown = {name: _line(str(value)) for name, value in _facts(document, steps).items() if value}
    width = max(map(len, shown)) + 1
    text = "".join(f"{name + ':':{width}} {value}\n" for name, value in shown.items())
    text += "\n" + _step_table(steps)
    chain = slowest_chain(steps)
    if len(chain) > 1:
        names = " > ".join(f"{short_name(step)} {seconds(step.seconds)}" for step in chain)
        text += f"\nSlowest chain: {names}\n"
    for message, where in document["warnings"]:
        text += f"Warning: {_line(message)}" + (f" ({_line(where)})\n" if where else "\n")
    return text


def _facts(document: Document, steps: Sequence[TracedStep]) -> dict[str, str]:
    request, definition = document["request"], document.get("definition", {})
    totals = totals_of(document, steps)
    facts = {
        "Name": document["name"],
        "Ref": document["ref"],
        "Context": request.get("context", ""),
        "Dockerfile": definition.get("name", ""),
        "Target": request.get("target", ""),
        "Platforms": ", ".join(request.get("platforms", ())),
        "Started": _moment(document["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        "Duration": f"{seconds(totals.wall)} ({seconds(totals.work)} of work)",
        "Status": document["status"],
        "Build steps": f"{totals.steps}, {totals.cached} cached",
        "Digest": document.get("result", {}).get("digest", ""),
        "Error": document.get("error", {}).get("message", ""),
    }
    facts |= {f"Build arg {name}": value for name, value in request.get("args", {}).items()}
    return facts | {
        f"Material {item.get('uri', '')}": item.get("digest", "")
        for item in document.get("materials", ())
        if item.get("digest")
    }


def _step_table(steps: Sequence[TracedStep]) -> str:
    rows = [
        [
            str(step.number),
            fit(harmless(step.name), STEP_WIDTH),
            seconds(step.seconds) if step.outcome == "executed" else step.outcome,
            "" if step.size is None else human_size(step.size),
            harmless(step.error.partition("\n")[0] or step.reason),
        ]
        for step in steps
    ]
    return tabulate([["#", "STEP", "TIME", "LAYER", "WHY"], *rows])


def comparison_text(found: Comparison, before: Document, after: Document) -> str:
    """What differs, and nothing else."""
    lines = [f"{before['ref']} {before['status']}, {seconds(found.totals[0].wall)}"]
    lines.append(f"{after['ref']} {after['status']}, {seconds(found.totals[1].wall)}")
    lines.append("the results are the same" if found.same_result else "the results differ")
    if found.inputs:
        lines += ["", "What went in:"]
    lines += [
        f"  {item.what} {_line(item.name)}: {_side(item.before)} -> {_side(item.after)}"
        for item in found.inputs
    ]
    if found.dockerfile:
        lines += ["", "Dockerfile:", *(f"  {_line(line)}" for line in found.dockerfile)]
    if found.steps:
        lines += ["", "Steps:"]
    lines += [f"  {_line(pair.name)}\n      {_difference(pair)}" for pair in found.steps]
    return "\n".join(lines) + "\n"


def comparison_json(found: Comparison) -> dict[str, Any]:
    """All that differs, as JSON values."""
    return {
        "sameResult": found.same_result,
        "seconds": [total.wall for total in found.totals],
        "inputs": [
            {"what": it.what, "name": it.name, "before": it.before, "after": it.after}
            for it in found.inputs
        ],
        "dockerfile": list(found.dockerfile),
        "steps": [
            {
                "name": pair.name,
                "before": None if pair.before is None else _step(pair.before),
                "after": None if pair.after is None else _step(pair.after),
            }
            for pair in found.steps
        ],
    }


def _difference(pair: StepPair) -> str:
    first, second = pair.before, pair.after
    if first is None:
        return f"new: {_state(second)}"
    if second is None:
        return f"gone: was {_state(first)}"
    told = f"{_state(first)} -> {_state(second)}"
    return f"{told}: {_line(second.reason)}" if second.outcome == "executed" else told


def _state(step: TracedStep | None) -> str:
    if step is None:
        return "none"
    size = "" if step.size is None else f", {human_size(step.size)}"
    time = "" if step.outcome == "cached" else f" in {seconds(step.seconds)}"
    return f"{step.outcome}{time}{size}"


def _step(step: TracedStep) -> dict[str, Any]:
    return {
        "Number": step.number,
        "Name": step.name,
        "Outcome": step.outcome,
        "Reason": step.reason,
        "Where": step.where,
        "Seconds": round(step.seconds, 3),
        "Layer": step.layer,
        "Size": step.size,
        "Error": step.error,
    }


def _error(document: Document) -> dict[str, str] | None:
    told = document.get("error")
    if told is None:
        return None
    return {name.capitalize(): told[name] for name in ("message", "where", "fix") if name in told}


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in values.items()]


def _side(text: str) -> str:
    return _line(text) or "none"


def _line(text: str) -> str:
    return " ".join(harmless(line) for line in text.splitlines())


def _moment(value: float) -> datetime:
    return datetime.fromtimestamp(value, UTC)
