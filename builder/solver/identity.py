"""The keys of a step: by definition, by content, and for linked copies without what is below.

The definition key is computed from the plan and the context alone, so a whole build can be answered
without executing or unpacking anything. The content key replaces every input by what is read of it;
it is tried when the definition key is unknown, so a stage that was rebuilt to the same files does
not invalidate those that copy from it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.errors import blaming
from builder.keys import KeyField, key_of
from builder.plan.model import Plan, Step
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    Copy,
    Run,
    SecretSpec,
    SourceImage,
    StepId,
)
from builder.solver.explain import Components, components
from builder.solver.records import StoredLayer, chain_fields

if TYPE_CHECKING:
    from builder.solver.files import Directories, FilePlanner, Selection


class Identities:
    """Keys of the steps of one plan, each computed once; safe to use from several threads."""

    def __init__(
        self,
        plan: Plan,
        files: FilePlanner,
        *,
        compression: str,
        secrets: Mapping[str, bytes] | None = None,
        rewrite_timestamps: bool = True,
    ) -> None:
        """``secrets`` are the digests of those that steps depend on, by id."""
        self._plan = plan
        self._secrets = secrets or {}
        self._rewrite = rewrite_timestamps
        self._files = files
        self._compression = compression
        self._lock = threading.RLock()
        self._definitions: dict[StepId, bytes] = {}
        self._contexts: dict[StepId, tuple[Selection, ...]] = {}

    def definition(self, step: Step) -> bytes:
        """The key by everything the step was defined from.

        Raises:
            BuildInputError: a source is not in the context.
        """
        with self._lock:
            if step.id not in self._definitions:
                # From the bottom, so that a long chain of steps is no deep recursion.
                for index in self._plan.closure(step.id):
                    if index not in self._definitions:
                        fields = self._definition_fields(self._plan.steps[index])
                        self._definitions[index] = key_of("definition", fields)
            return self._definitions[step.id]

    def components(self, step: Step) -> Components:
        """The definition key taken apart, for explanations."""
        with self._lock:
            files: dict[str, str] = {}
            for selection in self._context(step):
                files.update(selection.files.items())
            bases: list[KeyField] = [("base", self._bases(step))]
            return components([*self._definition_fields(step), *bases], files)

    def _bases(self, step: Step) -> tuple[str, ...]:
        """The images that the step stands on or reads."""
        below = (*step.inputs, *(() if step.parent is None else (step.parent,)))
        ops = (self._plan.steps[index].op for index in below)
        return tuple(
            f"{op.reference.familiar}@{op.base.descriptor.digest}"
            for op in ops
            if isinstance(op, SourceImage)
        )

    def content(
        self, step: Step, layers: Sequence[StoredLayer], inputs: Sequence[Selection]
    ) -> bytes:
        """The key by the files the step stands on and those it reads."""
        fields = self._own_fields(step)
        fields.append(("layers", chain_fields(layers)))
        fields.append(("selections", tuple(selection.digest for selection in inputs)))
        return key_of("content", fields)

    def linked(self, step: Step) -> bytes:
        """The key of a linked copy's own layer, whatever is below it."""
        with self._lock:
            fields = self._own_fields(step)
            fields.append(("inputs", self._inputs(step)))
            return key_of("linked", fields)

    def portable(self, step: Step) -> bool:
        """Whether its keys mean the same in every store: no secret's digest is in them."""
        if not self._secrets:
            return True
        below = (self._plan.steps[index] for index in self._plan.closure(step.id))
        return not any(self._mounted_secrets(it) for it in below)

    def selections(self, step: Step, directories: Sequence[Directories]) -> tuple[Selection, ...]:
        """What the step reads of its inputs, whose ``directories`` come in the step's order.

        Raises:
            BuildInputError: a source is not there.
        """
        with blaming(step.source):
            return self._read_inputs(step, directories)

    def _read_inputs(self, step: Step, directories: Sequence[Directories]) -> tuple[Selection, ...]:
        match step.op:
            case Copy():
                return tuple(self._files.selection(step.op, source) for source in directories)
            case Run(mounts=mounts):
                paths = [
                    mount.source or "/"
                    for mount in mounts
                    if isinstance(mount, BindSpec | CacheSpec) and isinstance(mount.from_, int)
                ]
                return tuple(
                    self._files.content(path, source)
                    for path, source in zip(paths, directories, strict=True)
                )
        return ()

    def _own_fields(self, step: Step) -> list[KeyField]:
        with self._lock:
            context = tuple(selection.digest for selection in self._context(step))
        # Fields that are seldom used are left out, so that they leave other keys alone.
        rare: list[KeyField] = []
        if secrets := self._mounted_secrets(step):
            rare.append(("secrets", secrets))
        if self._plan.epoch is not None and not self._rewrite:
            rare.append(("rewrite-timestamps", False))
        return [
            *step.op.key_fields(),
            ("epoch", self._plan.epoch),
            ("compression", self._compression),
            ("context", context),
            *rare,
        ]

    def _mounted_secrets(self, step: Step) -> tuple[tuple[str, bytes], ...]:
        if not isinstance(step.op, Run):
            return ()
        ids = {mount.id for mount in step.op.mounts if isinstance(mount, SecretSpec)}
        return tuple((name, self._secrets[name]) for name in sorted(ids & self._secrets.keys()))

    def _definition_fields(self, step: Step) -> list[KeyField]:
        parent = None
        if step.parent is not None:
            parent = self.definition(self._plan.steps[step.parent])
        return [*self._own_fields(step), ("parent", parent), ("inputs", self._inputs(step))]

    def _inputs(self, step: Step) -> tuple[bytes, ...]:
        return tuple(self.definition(self._plan.steps[index]) for index in step.inputs)

    def _context(self, step: Step) -> tuple[Selection, ...]:
        known = self._contexts.get(step.id)
        if known is None:
            with blaming(step.source):
                known = self._contexts[step.id] = tuple(self._read_context(step))
        return known

    def _read_context(self, step: Step) -> list[Selection]:
        match step.op:
            case Copy(from_=None | str() as source) if step.op.sources:
                return [self._files.selection(step.op, source)]
            case Run(mounts=mounts):
                return [
                    self._files.content(mount.source or "/", mount.from_)
                    for mount in mounts
                    if (isinstance(mount, BindSpec) and mount.from_ is None)
                    or (isinstance(mount, BindSpec | CacheSpec) and isinstance(mount.from_, str))
                ]
        return []
