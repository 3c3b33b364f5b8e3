"""``--call=outline``: what a target can be told, in the shape of BuildKit's ``frontend.outline``
1.0.0: build arguments, secrets and agents of the stages it needs.

Global ARGs count when a FROM uses them, or one that is used does; ARGs of a stage always. A bare
ARG of a global's name is that global. The stage nearest to the target has the word on a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.calls.shape import columns, described, located, source_of
from builder.inputs import read_inputs
from builder.plan.observer import PlanObserver
from builder.plan.ops import Run, SecretSpec, SshSpec
from builder.plan.options import PlanOptions
from builder.plan.planner import plan
from builder.plan.scope import platform_args
from builder.plan.target import find_target
from dockerfile_grammar import nodes
from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.excerpt import source_lines
from dockerfile_grammar.expand import expansion
from images.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bases import BaseResolver
    from builder.plan.config import ConfigDraft
    from builder.plan.model import Plan
    from builder.plan.scope import StageScope
    from builder.request import BuildRequest


@dataclass(frozen=True, slots=True)
class _Argument:
    """One ARG; ``needs`` are the globals that its default names."""

    name: str
    value: str | None
    description: str
    range: nodes.SourceRange
    needs: frozenset[str] = frozenset()

    def json(self) -> dict[str, Any]:
        fields = {"description": self.description, "value": self.value}
        present = {key: text for key, text in fields.items() if text}
        return {"name": self.name, **present, "location": located(self.range)}


@dataclass(slots=True)
class _StageOutline:
    """What one stage can be told; ``base`` is the stage it starts from."""

    base: int | None
    from_words: tuple[str, ...]
    arguments: dict[str, _Argument] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)
    """Globals that an ARG without a value asks for."""


class _Watcher(PlanObserver):
    """Sees the stages that the planner reads: those that the target needs."""

    def __init__(self, tree: nodes.Dockerfile, options: PlanOptions) -> None:
        self.stages: dict[int, _StageOutline] = {}
        self.globals: dict[str, _Argument] = {}
        self._options = options
        self._escape = tree.escape
        target = options.target or (tree.stages[-1].name if tree.stages else None)
        automatic = platform_args(options.build_platform, options.platform, target or "default")
        self._values: dict[str, str] = {
            name: options.build_args.get(name, value) for name, value in automatic.items()
        }
        for node in tree.global_args:
            for pair in node.args:
                self._declare_global(pair, node)

    def _declare_global(self, pair: nodes.KeyValue, node: nodes.Arg) -> None:
        needs: frozenset[str] = frozenset()
        value = self._options.build_args.get(pair.key)
        if value is None and pair.value is not None:
            read = expansion(pair.value, self._values, escape=self._escape)
            value, needs = read.text, frozenset(read.matched)
            if pair.key in needs and pair.key in self.globals:
                needs |= self.globals[pair.key].needs
        if value is not None:
            self._values[pair.key] = value
        text = described(node.comments, pair.key)
        self.globals[pair.key] = _Argument(pair.key, value, text, node.range, needs - {pair.key})

    def entered(self, stage: nodes.Stage, parent: int | None) -> None:
        """A stage is needed."""
        words = [stage.base.image, *filter(None, [stage.base.platform])]
        named = [
            name
            for word in words
            for name in expansion(word, self._values, escape=self._escape).matched
        ]
        self.stages[stage.index] = _StageOutline(parent, tuple(named))

    def reading(
        self, stage: int, node: nodes.Instruction, scope: StageScope, draft: ConfigDraft
    ) -> None:
        """Note what an instruction can be told.

        Raises:
            ExpansionError: a default is malformed.
        """
        outline = self.stages[stage]
        if isinstance(node, nodes.Arg):
            visible = dict(scope.visible)
            for pair in node.args:
                self._declare(outline, pair, node, visible)

    def _declare(
        self,
        outline: _StageOutline,
        pair: nodes.KeyValue,
        node: nodes.Arg,
        visible: dict[str, str],
    ) -> None:
        given = self._options.build_args.get(pair.key)
        if given is None and pair.value is None and pair.key in self._values:
            outline.bare.append(pair.key)
            visible[pair.key] = self._values[pair.key]
            return
        value = given
        if value is None and pair.value is not None:
            value = expansion(pair.value, visible, escape=self._escape).text
        if value is not None:
            visible[pair.key] = value
        text = described(node.comments, pair.key)
        outline.arguments[pair.key] = _Argument(pair.key, value, text, node.range)


def outline(request: BuildRequest, *, resolver: BaseResolver) -> dict[str, Any]:
    """What the target of a request can be told; nothing is executed.

    Raises:
        DockerfileError: the file does not parse.
        BuildInputError: it cannot be read or planned.
        ImagesError: a base image cannot be resolved.
    """
    from dockerfile_grammar.parser import parse

    inputs = read_inputs(request)
    tree = parse(inputs.dockerfile, filename=inputs.name)
    host = Platform.host()
    options = PlanOptions(
        platform=request.platform or host,
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        contexts=request.contexts,
        filename=inputs.name,
    )
    lines = source_lines(inputs.dockerfile)
    try:
        watcher = _Watcher(tree, options)
    except ExpansionError:
        # The planner says the same with the lines at fault.
        plan(tree, lines, options, resolver)
        raise
    planned = plan(tree, lines, options, resolver, observer=watcher)
    target = find_target(tree, options)
    order = _nearest_first(watcher.stages, target.index)
    name = planned.target
    fields: dict[str, Any] = {
        "name": name,
        "description": described(target.base.comments, name),
        "args": _by_place([one.json() for one in _arguments(watcher, order)]),
        "secrets": _mounted(planned, SecretSpec),
        "ssh": _mounted(planned, SshSpec),
        "sources": [source_of(inputs.dockerfile)],
    }
    return {key: value for key, value in fields.items() if value}


def _nearest_first(stages: Mapping[int, _StageOutline], target: int) -> list[_StageOutline]:
    """The target, the stages it starts from, then the others that it needs."""
    order: dict[int, None] = {}
    index: int | None = target
    while index is not None and index in stages and index not in order:
        order[index] = None
        index = stages[index].base
    order.update(dict.fromkeys(sorted(stages)))
    return [stages[index] for index in order if index in stages]


def _arguments(watcher: _Watcher, order: list[_StageOutline]) -> Iterator[_Argument]:
    """Each argument once, by the stage nearest to the target."""
    told: set[str] = set()
    for stage in order:
        names = dict.fromkeys((*stage.from_words, *stage.bare, *stage.arguments))
        rest = list(names)[::-1]
        while rest:
            found = stage.arguments.get(name := rest.pop()) or watcher.globals.get(name)
            if found is None or name in told:
                continue
            told.add(name)
            rest += found.needs
            yield found


def _mounted(planned: Plan, kind: type[SecretSpec | SshSpec]) -> list[dict[str, Any]]:
    """What the commands of a plan mount of this kind, each id once; required if one requires it."""
    found: dict[str, dict[str, Any]] = {}
    for step in planned.steps:
        for mount in step.op.mounts if isinstance(step.op, Run) else ():
            if not isinstance(mount, kind):
                continue
            told = found.setdefault(mount.id, {"name": mount.id})
            if mount.required:
                told["required"] = True
            if step.source is not None:
                told.setdefault("location", located(nodes.SourceRange(*step.source.ranges[0])))
    return _by_place(list(found.values()))


def _by_place(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: int(item["location"]["ranges"][0]["start"]["line"]))


def outline_text(found: dict[str, Any]) -> str:
    """The tables that BuildKit prints."""
    parts = []
    if "name" in found or "description" in found:
        head = [("TARGET:", found.get("name") or "(default)")]
        if "description" in found:
            head.append(("DESCRIPTION:", found["description"]))
        parts.append(columns(head, gap=1))
    if "args" in found:
        rows = [("BUILD ARG", "VALUE", "DESCRIPTION")]
        rows += [
            (one["name"], one.get("value", ""), one.get("description", "")) for one in found["args"]
        ]
        parts.append(columns(rows, gap=3))
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if key in found:
            asked = [(one["name"], "true" if one.get("required") else "") for one in found[key]]
            parts.append(columns([(title, "REQUIRED"), *asked], gap=3))
    return "".join(f"{part}\n" for part in parts)
