"""The steps that stand on nothing but what the build was given: images, contexts, the empty root.

Each of them is one step of a plan, however often it is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.plan.bases import full
from builder.plan.ops import SCRATCH, Copy, SourceImage, SourceScratch, StepId

if TYPE_CHECKING:
    from builder.bases import ResolvedBase
    from builder.errors import Source
    from builder.plan.ops import ContextKey
    from images.platform import Platform
    from images.reference import Reference

WHOLE = "COPY . /"
"""What makes a root of a directory."""


class RootSteps:
    """Makes them when they are first asked for; ``add_step`` is the planner's."""

    def __init__(self, add_step: Callable[..., StepId]) -> None:
        self._add_step = add_step
        self._scratch: StepId | None = None
        self._images: dict[tuple[str, Platform], StepId] = {}
        self._directories: dict[ContextKey, StepId] = {}

    def scratch(self) -> StepId:
        """No files."""
        if self._scratch is None:
            self._scratch = self._add_step(SourceScratch(), None, f"FROM {SCRATCH}")
        return self._scratch

    def image(
        self,
        reference: Reference,
        platform: Platform,
        resolved: ResolvedBase,
        name: str,
        source: Source | None,
    ) -> StepId:
        """The files of an image; ``name`` and ``source`` are where it is named first."""
        key = (str(resolved.descriptor.digest), platform)
        known = self._images.get(key)
        if known is None:
            op = SourceImage(reference, platform, resolved)
            known = self._images[key] = self._add_step(op, None, name, source=source)
        return known

    def context_image(
        self, key: ContextKey, reference: Reference, platform: Platform, resolved: ResolvedBase
    ) -> StepId:
        """The files of an image that a named context is."""
        return self.image(reference, platform, resolved, f"[context {key}] {full(reference)}", None)

    def directory(self, key: ContextKey) -> StepId:
        """The files of a local named context as a root file system: one layer of all it holds."""
        known = self._directories.get(key)
        if known is None:
            op = Copy(sources=("/",), destination="/", workdir="/", from_=key)
            known = self._directories[key] = self._add_step(
                op, self.scratch(), f"[context {key}] {WHOLE}", created_by=WHOLE
            )
        return known
