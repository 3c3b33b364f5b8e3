"""A plan for people and for programs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from builder.plan.model import Plan, Step
from builder.plan.ops import SourceImage, SourceScratch
from images.digest import Digest


def plan_text(plan: Plan) -> str:
    """Stages in the order of the file, their steps and config changes one a line."""
    lines: list[str] = [f"platform {plan.platform}"]
    for stage in plan.stages:
        title = f"stage {stage.index}" + (f" {stage.name}" if stage.name else "")
        lines += ["", f"{title} from {stage.base}"]
        lines += [f"  {line}" for line in stage.lines]
    for warning in plan.warnings:
        lines += ["", f"warning: {warning.message}"]
    return "\n".join(lines) + "\n"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The whole plan as JSON values; steps refer to each other by ``id``."""
    return {
        "target": plan.target,
        "platform": str(plan.platform),
        "result": plan.result,
        "steps": [_step(step) for step in plan.steps],
        "config": _plain(plan.image.config),
        "history": [entry.created_by for entry in plan.image.history],
        "warnings": [warning.message for warning in plan.warnings],
    }


def plan_dot(plan: Plan) -> str:
    """The graph of the steps that the target needs, for Graphviz.

    Plain arrows lead from what a step stands on, dashed ones from what it reads.
    """
    lines = ["digraph plan {", "  node [shape=box];"]
    for index in plan.closure(plan.result):
        step = plan.steps[index]
        border = ", peripheries=2" if index == plan.result else ""
        lines.append(f"  s{index} [label={_quoted(step.name)}{border}];")
        if step.parent is not None:
            lines.append(f"  s{step.parent} -> s{index};")
        lines += [f"  s{source} -> s{index} [style=dashed];" for source in step.inputs]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    """A string of the DOT language, in which a backslash would start an escape of labels."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _step(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "name": step.name,
        "parent": step.parent,
        "inputs": list(step.inputs),
        "lines": [list(span) for span in step.source.ranges] if step.source else [],
        "op": _op(step),
    }


def _op(step: Step) -> dict[str, Any]:
    match step.op:
        case SourceImage(reference=reference, platform=platform, base=base):
            return {
                "type": "image",
                "reference": reference.familiar,
                "platform": str(platform),
                "digest": str(base.descriptor.digest),
            }
        case SourceScratch():
            return {"type": "scratch"}
    values = {item.name: _plain(getattr(step.op, item.name)) for item in fields(step.op)}
    return {"type": type(step.op).__name__.lower(), **values}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, Digest):
        plain = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        return {"type": type(value).__name__, **plain} if "target" in plain else plain
    return str(value)
