"""Somebody who watches the planner read a Dockerfile; lint does.

An observer sees what the planner sees, at the moment it sees it, and changes none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.plan.config import ConfigDraft
    from builder.plan.scope import StageScope
    from dockerfile_grammar import nodes
    from images.platform import Platform


class PlanObserver:
    """Looks away; subclasses override what they want to see."""

    def entered(self, stage: nodes.Stage, parent: int | None) -> None:
        """A stage begins; ``parent`` is the index of the stage it starts from, if it is one."""

    def resolved(
        self, stage: nodes.Stage, name: str, *, expected: Platform, actual: Platform
    ) -> None:
        """A stage's base image was found under ``name``, with the platform its config states."""

    def reading(
        self, stage: int, node: nodes.Instruction, scope: StageScope, draft: ConfigDraft
    ) -> None:
        """An instruction is about to be read, by a stage whose variables and config these are.

        Raises:
            SyntaxFault: a word of it is malformed.
        """
