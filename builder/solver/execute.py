"""Doing one step: a command in a runner, or files into a layer; then the layer into the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildCancelledError, BuildEnvironmentError, StepFailedError
from builder.plan.ops import Copy, Run, StepId, Workdir
from builder.runner import RunStep
from builder.solver.mounts import prepare_mounts
from builder.solver.records import StoredLayer
from builder.solver.results import Layer, PendingLayer, Result

if TYPE_CHECKING:
    from builder.plan.model import Step
    from builder.progress.tracker import Vertex
    from builder.solver.session import Session
    from images.layers.entry import Entry

FAULTS_OF_THE_STEP = {
    "command-not-found": 127,
    "command-not-executable": 126,
    "user-unknown": 126,
}
"""Codes of runner errors that mean the Dockerfile is wrong, with the exit code they stand for."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A step that was done: its layer, and the workspace that holds the layer's directory."""

    layer: Layer
    workspace: Path | None = None

    def settle(self, session: Session) -> None:
        """Keep the upper directory as a snapshot if its layer is stored; drop the workspace."""
        if self.workspace is None:
            return
        layer = self.layer
        if isinstance(layer, PendingLayer) and layer.upper is not None:
            future = layer.future
            if future.done() and future.exception() is None:
                session.store.snapshots.adopt(layer.upper, future.result().diff_id)
        shutil.rmtree(self.workspace, ignore_errors=True)


def execute(
    session: Session,
    step: Step,
    below: Result,
    inputs: Mapping[StepId, Result],
    vertex: Vertex,
    record: Callable[[StoredLayer], None],
) -> Execution:
    """Do ``step`` on top of ``below``; ``record`` is called once its layer is stored.

    Raises:
        StepFailedError: the command failed.
        BuildInputError: sources, owners or mounts do not fit.
        ImagesError: the layer cannot be stored.
    """
    match step.op:
        case Run():
            return _run(session, step, step.op, below, inputs, vertex, record)
        case Copy():
            source = None
            if step.op.from_ is not None:
                source = inputs[step.op.from_].directories(session.store)
            entries = session.files.copy(step.op, source, lambda: below.directories(session.store))
        case Workdir():
            entries = session.files.workdir(step.op, lambda: below.directories(session.store))
        case _:
            raise AssertionError(f"step {step.id} is a source")
    layer = _pack(session, entries)
    record(layer)
    return Execution(layer)


def _run(
    session: Session,
    step: Step,
    op: Run,
    below: Result,
    inputs: Mapping[StepId, Result],
    vertex: Vertex,
    record: Callable[[StoredLayer], None],
) -> Execution:
    _check_platform(session, op)
    workspace = session.store.snapshots.new_workspace()
    try:
        lower = below.directories(session.store)
        with session.slots, prepare_mounts(session, op, inputs, workspace) as mounts:
            run_step = RunStep(
                args=op.args,
                env=(*op.env, *op.proxy_env, *mounts.env),
                cwd=op.cwd,
                user=op.user,
                lower=lower,
                upper=workspace / "upper",
                work=workspace / "work",
                output=vertex.output,
                cancellation=session.cancellation,
                mounts=tuple(mounts.mounts),
                network=op.network,
                security=op.security,
                extra_hosts=op.extra_hosts,
                resources=op.resources,
            )
            session.check()
            code = _start(session, step, op, run_step)
        session.check()
        if code != 0:
            raise StepFailedError(op.command, code, log=vertex.tail(), source=step.source)
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise

    def pack() -> StoredLayer:
        from images.layers.overlay_diff import scan_upper

        epoch = session.plan.epoch
        layer = _pack(session, scan_upper(workspace / "upper", max_mtime=epoch))
        record(layer)
        return layer

    layer = PendingLayer(session.pool.submit(pack), workspace / "upper")
    return Execution(layer, workspace)


def _start(session: Session, step: Step, op: Run, run_step: RunStep) -> int:
    """Run, and tell the step's own faults from the machine's."""
    try:
        return session.runner.run(run_step)
    except BuildCancelledError:
        raise
    except Exception as error:
        what, code = getattr(error, "what", None), getattr(error, "code", None)
        if session.cancellation.cancelled:
            raise BuildCancelledError("the build was cancelled") from error
        if what is None:
            raise
        if code in FAULTS_OF_THE_STEP:
            exit_code = FAULTS_OF_THE_STEP[str(code)]
            raise StepFailedError(
                op.command,
                exit_code,
                reason=f"exit code: {exit_code}: {what}",
                source=step.source,
                fix=getattr(error, "fix", None),
            ) from error
        raise BuildEnvironmentError(
            f'process "{op.command}" could not be started: {what}',
            source=step.source,
            fix=getattr(error, "fix", None),
        ) from error


def _check_platform(session: Session, op: Run) -> None:
    host = session.options.host
    if not op.platform.matches(host):
        raise BuildEnvironmentError(
            f"RUN for {op.platform} cannot be executed on this {host} machine",
            fix=f"build for {host}, or keep RUN in stages FROM --platform=$BUILDPLATFORM",
        )


def _pack(session: Session, entries: Iterable[Entry]) -> StoredLayer:
    from images.layers.pack import pack_layer

    packed = pack_layer(entries, session.store.blobs, compression=session.options.compression)
    return StoredLayer(packed.diff_id, packed.descriptor, session.created())
