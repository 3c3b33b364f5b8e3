"""The report of a build: its record, its log and its layers on one page of HTML.

The page loads nothing and runs nothing: no script, one style sheet whose digest the page's own
content security policy names, pictures as SVG attributes. All text is escaped by Jinja2, after its
control characters were taken out, so neither names nor logs can become markup.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from builder.progress.text import harmless, last_overwrite
from engine.builds.history.contents import contents_of
from engine.builds.history.steps import slowest_chain, steps_of, totals_of
from lading import __version__
from lading.render.report.layers import file_rows, layer_rows
from lading.render.summary import seconds, short_name
from lading.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.builds.history.archive import LogLine
    from engine.builds.history.document import Document
    from engine.builds.history.steps import Totals, TracedStep
    from images.store import ImageStore

LOG_LINES: Final = 2000
"""Lines of a step's log that the page shows: the last ones."""
CHANGES: Final = 20
CHAIN_SHARE: Final = 0.05
"""Of the slowest chain's time, from which a step of it is named."""
NARROWEST: Final = 0.3
"""Percent of the lane that the shortest step takes, so that it can be seen."""
TICKS: Final = 6
_FOLDER: Final = Path(__file__).parent


def report_html(document: Document, log: Sequence[LogLine], store: ImageStore) -> str:
    """The page; layers are read from ``store`` as far as they are there."""
    style = (_FOLDER / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = _view(document, log, store)
    return environment.get_template("page.html").render(
        # The style sheet is our own; nothing else is markup.
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        version=__version__,
        **view,
    )


def _view(document: Document, log: Sequence[LogLine], store: ImageStore) -> dict[str, Any]:
    steps = steps_of(document)
    totals = totals_of(document, steps)
    layers = contents_of(document, store)
    rows = _step_rows(document, steps, totals, _by_step(log))
    names = {step.layer: short_name(step) for step in steps if step.layer}
    files = file_rows(layers, names)
    source = _source_rows(document, steps)
    view = {
        "build": _build(document),
        "error": _error(document),
        "cards": _cards(document, totals, steps, sum(layer.size for layer in layers)),
        "ticks": _ticks(totals.wall),
        "steps": rows,
        "misses": _misses(steps),
        "layers": layer_rows(layers, names),
        "files": files,
        "warnings": [[_text(part) for part in item] for item in document["warnings"]],
        "inputs": _inputs(document),
        "materials": _materials(document),
        "source_name": _text(document.get("definition", {}).get("name", "")),
        "source": source,
    }
    return view | {"sections": _sections(view)}


def _misses(steps: Sequence[TracedStep]) -> list[dict[str, Any]]:
    """The reasons why the cache did not answer, each with all its steps."""
    found: dict[str, list[TracedStep]] = {}
    for step in steps:
        if step.outcome != "cached" and not step.internal:
            found.setdefault(step.reason, []).append(step)
    return [
        {
            "reason": _text(reason) or "not asked",
            "steps": [(step.number, _text(short_name(step))) for step in group],
            "time": took(sum(step.seconds for step in group)),
        }
        for reason, group in found.items()
    ]


def _sections(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    optional = {"files": "Largest files", "warnings": "Warnings"}
    found = [("timeline", "Timeline"), ("cache", "Cache"), ("layers", "Layers")]
    found += [(name, title) for name, title in optional.items() if view[name]]
    found.append(("inputs", "What went in"))
    return [*found, ("dockerfile", view["source_name"])] if view["source"] else found


def _build(document: Document) -> dict[str, Any]:
    request = document["request"]
    started = datetime.fromtimestamp(document["started"], UTC)
    return {
        "name": _text(document["name"]),
        "status": document["status"],
        "ref": document["ref"],
        "started": started.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "started_iso": started.isoformat(),
        "platforms": [_text(it) for it in request.get("platforms", ())],
        "target": _text(request.get("target", "")),
        "digest": document.get("result", {}).get("digest", ""),
    }


def _error(document: Document) -> dict[str, str] | None:
    told = document.get("error")
    if told is None:
        return None
    return {name: _lines(told.get(name, "")) for name in ("message", "where", "fix")}


def _cards(
    document: Document, totals: Totals, steps: Sequence[TracedStep], image_size: int
) -> list[dict[str, Any]]:
    chain = slowest_chain(steps)
    total = sum(step.seconds for step in chain)
    # What took next to no time is not what made the chain slow.
    named = [_text(short_name(step)) for step in chain if step.seconds >= total * CHAIN_SHARE]
    share = None if not totals.steps else round(100 * totals.cached / totals.steps, 1)
    cards = [
        _card("Time", took(totals.wall), f"{took(totals.work)} of work in all steps"),
        _card("Cached", f"{totals.cached} of {totals.steps}", "steps of the Dockerfile", share),
        _card(
            "Slowest chain",
            took(total),
            " → ".join(named) or "nothing was done",
        ),
        _card("New layers", human_size(totals.made), "as they are stored"),
    ]
    if image_size:
        cards.append(_card("Image", human_size(image_size), "all layers, as they are stored"))
    context = document.get("context")
    if context is not None:
        cards.append(_card("Context", human_size(context["bytes"]), f"{context['files']} files"))
    return cards


def _card(title: str, value: str, note: str, share: float | None = None) -> dict[str, Any]:
    return {"title": title, "value": value, "note": note, "share": share}


def _ticks(wall: float) -> list[dict[str, Any]]:
    """Round times along the axis, six or fewer."""
    if wall <= 0:
        return []
    step = next(
        size
        for size in (factor * 10.0**power for power in range(-3, 7) for factor in (1, 2, 5))
        if wall / size <= TICKS
    )
    count = int(wall / step)
    return [
        {
            "at": round(100 * number * step / wall, 3),
            "label": f"{round(number * step, 3):g}s",
            "anchor": "start" if number == 0 else "end" if number * step / wall > 0.97 else "mid",
        }
        for number in range(count + 1)
    ]


def _step_rows(
    document: Document,
    steps: Sequence[TracedStep],
    totals: Totals,
    logs: Mapping[int, Sequence[LogLine]],
) -> list[dict[str, Any]]:
    chain = {step.number for step in slowest_chain(steps)}
    names = {step.number: _text(short_name(step)) for step in steps}
    start, wall = document["started"], max(totals.wall, 1e-6)
    rows = []
    for step in steps:
        left = min(100.0 - NARROWEST, max(0.0, 100 * (step.started - start) / wall))
        width = min(100.0 - left, max(NARROWEST, 100 * step.seconds / wall))
        shown, clipped = _log_rows(step, logs.get(step.number, ()))
        rows.append(
            {
                "number": step.number,
                "name": _text(step.name),
                "outcome": step.outcome,
                "left": round(left, 3),
                "width": round(width, 3),
                "chain": step.number in chain and len(chain) > 1,
                "time": took(step.seconds),
                "size": "" if step.size is None else human_size(step.size),
                "where": _text(step.where),
                "line": _line_of(step),
                "reason": _text(step.reason),
                "layer": step.layer,
                "inputs": [(it, names[it]) for it in step.inputs if it in names],
                "error": _lines(step.error),
                "changes": [tuple(map(_text, change)) for change in step.changes[:CHANGES]],
                "more_changes": max(0, len(step.changes) - CHANGES),
                "log": shown,
                "clipped": clipped,
            }
        )
    return rows


def _by_step(log: Sequence[LogLine]) -> dict[int, list[LogLine]]:
    found: dict[int, list[LogLine]] = {}
    for line in log:
        found.setdefault(line.step, []).append(line)
    return found


def _log_rows(step: TracedStep, log: Sequence[LogLine]) -> tuple[list[dict[str, str]], bool]:
    """The last lines, each with its time since the step began; whether there are more."""
    rows = []
    for item in log:
        at = f"{max(0.0, item.time - step.started):.2f}"
        lines = (last_overwrite(line.encode()) for line in item.text.split("\n"))
        rows += [{"at": at, "text": harmless(line)} for line in lines if line]
    return rows[-LOG_LINES:], len(rows) > LOG_LINES


def _inputs(document: Document) -> list[tuple[str, str]]:
    request = document["request"]
    titles = {
        "context": "Context",
        "tags": "Names",
        "args": "Build arguments",
        "labels": "Labels",
        "contexts": "Named contexts",
        "secrets": "Secrets",
        "ssh": "SSH agents",
        "network": "Network",
        "no_cache": "Without cache",
        "no_cache_stages": "Stages without cache",
        "pull": "Bases pulled anew",
        "allow": "Allowed",
    }
    found = [(title, _value(request[name])) for name, title in titles.items() if name in request]
    definition = document.get("definition")
    if definition is not None:
        found.insert(0, ("Dockerfile", f"{_text(definition['name'])} ({definition['digest']})"))
    return found


def _value(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, dict):
        return "\n".join(f"{_text(name)}={_lines(str(text))}" for name, text in value.items())
    if isinstance(value, list):
        return "\n".join(_text(str(item)) for item in value)
    return _lines(str(value))


def _materials(document: Document) -> list[tuple[str, str]]:
    return [
        (_text(item.get("uri", "")), _text(item.get("digest", "")))
        for item in document.get("materials", ())
    ]


def _source_rows(document: Document, steps: Sequence[TracedStep]) -> list[dict[str, Any]]:
    """The Dockerfile line by line, with the step that each instruction became."""
    by_line: dict[int, TracedStep] = {}
    for step in steps:
        line = _line_of(step)
        # With several platforms an instruction is several steps; the slowest one is told.
        if line and (line not in by_line or by_line[line].seconds < step.seconds):
            by_line[line] = step
    rows = []
    text = document.get("definition", {}).get("text", "")
    for number, line in enumerate(text.splitlines(), 1):
        found = by_line.get(number)
        row = {"number": number, "text": _text(line), "step": 0, "time": "", "outcome": ""}
        if found is not None:
            time = "cached" if found.outcome == "cached" else took(found.seconds)
            row |= {"step": found.number, "time": time, "outcome": found.outcome}
        rows.append(row)
    return rows


def _line_of(step: TracedStep) -> int:
    line = step.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def took(value: float) -> str:
    """As ``seconds``, and in milliseconds what is less than one."""
    return seconds(value) if value >= 1 else f"{value * 1000:.0f}ms"


def _text(text: str) -> str:
    """One line without control characters."""
    return harmless(text)


def _lines(text: str) -> str:
    return "\n".join(map(harmless, text.splitlines()))
