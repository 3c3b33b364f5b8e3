"""ONBUILD: what a base image wants done in the stage that starts from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.errors import PlanError, Source
from builder.plan.ops import SCRATCH
from dockerfile_grammar import nodes
from dockerfile_grammar.errors import GrammarError
from records import replace

if TYPE_CHECKING:
    from builder.plan.config import ConfigDraft


def take_triggers(
    draft: ConfigDraft, base: nodes.From, source: Callable[[nodes.SourceRange], Source]
) -> list[nodes.Instruction]:
    """The triggers of the base whose config ``draft`` has, which are gone from it then.

    Raises:
        PlanError: one of them is no instruction; carries the FROM.
    """
    texts = draft.take_triggers()
    if not texts:
        return []
    from dockerfile_grammar.parser import parse

    found: list[nodes.Instruction] = []
    for text in texts:
        try:
            parsed = parse(f"FROM {SCRATCH}\n{text}\n", filename="ONBUILD")
        except GrammarError as error:
            raise PlanError(
                f"the base image's trigger ONBUILD {text} cannot be parsed: {error.what}",
                source=source(base.range),
                fix="the base image must be rebuilt with a correct ONBUILD",
            ) from error
        found.extend(replace(node, range=base.range) for node in parsed.stages[0].instructions)
    return found
