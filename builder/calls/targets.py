"""``--call=targets``: the stages of a file, in BuildKit's shape (``frontend.targets`` 1.0.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.calls.shape import columns, described, located, source_of
from builder.inputs import read_inputs

if TYPE_CHECKING:
    from builder.request import BuildRequest


def list_targets(request: BuildRequest) -> dict[str, Any]:
    """Every stage as it is written; the last one is the default.

    Raises:
        DockerfileError: the file does not parse.
        BuildInputError: it cannot be read.
    """
    from dockerfile_grammar.parser import parse

    inputs = read_inputs(request)
    tree = parse(inputs.dockerfile, filename=inputs.name)
    targets: list[dict[str, Any]] = []
    for stage in tree.stages:
        base = stage.base
        target: dict[str, Any] = {
            "name": stage.name,
            "default": stage is tree.stages[-1],
            "description": described(base.comments, stage.name or ""),
            "base": base.image,
            "platform": base.platform,
        }
        present = {key: value for key, value in target.items() if value}
        targets.append({**present, "location": located(base.range)})
    return {"targets": targets, "sources": [source_of(inputs.dockerfile)]}


def targets_text(listed: dict[str, Any]) -> str:
    """The table that BuildKit prints."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in listed["targets"]:
        default = "(default)" if target.get("default") else ""
        name = " ".join(filter(None, [target.get("name", ""), default]))
        rows.append((name, target.get("description", "")))
    return columns(rows, gap=1)
