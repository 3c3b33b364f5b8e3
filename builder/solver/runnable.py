"""Whether this machine can run the commands of a plan, asked before any of them is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import BuildEnvironmentError
from builder.plan.ops import Run, StepId

if TYPE_CHECKING:
    from builder.plan.model import Step
    from builder.solver.session import Session
    from images.platform import Platform


def check_runnable(session: Session) -> None:
    """Ask the runner about every foreign platform that a command of the plan is for.

    What is on record needs no runner, so it is looked up for those that cannot run.

    Raises:
        BuildEnvironmentError: a command that has to be executed cannot be; carries its lines.
        BuildInputError: a source is not in the context.
    """
    foreign = foreign_runs(session)
    if not foreign:
        return
    refused: dict[Platform, Exception | None] = {}
    for _, op in foreign.values():
        if op.platform not in refused:
            refused[op.platform] = _refusal(session, op.platform)
    if not any(refused.values()):
        return
    needed = _unanswered(session)
    for index, (step, op) in foreign.items():
        error = refused[op.platform]
        if error is not None and index in needed:
            raise BuildEnvironmentError(
                str(getattr(error, "what", error)),
                fix=getattr(error, "fix", None),
                source=step.source,
            ) from error


def foreign_runs(session: Session) -> dict[StepId, tuple[Step, Run]]:
    """The commands that the result needs and that are for another platform, in plan order."""
    steps = (session.plan.steps[index] for index in session.plan.closure(session.plan.result))
    return {
        step.id: (step, step.op)
        for step in steps
        if isinstance(step.op, Run) and not step.op.platform.matches(session.options.host)
    }


def _refusal(session: Session, platform: Platform) -> Exception | None:
    try:
        session.runner.check(platform)
    except Exception as error:
        if getattr(error, "what", None) is None:
            raise
        return error
    return None


def _unanswered(session: Session) -> set[StepId]:
    """Steps that no record answers by definition, from the result down to those that are."""
    renewed = session.plan.renewed()
    needed: set[StepId] = set()
    pending = [session.plan.result]
    while pending:
        step = session.plan.steps[pending.pop()]
        if step.id in needed or not step.makes_layer:
            continue
        believed = not session.options.no_cache and step.id not in renewed
        if believed and session.records.find(session.identities.definition(step)) is not None:
            continue
        needed.add(step.id)
        pending.extend(step.inputs)
        if step.parent is not None:
            pending.append(step.parent)
    return needed
