"""Doing one step: a command in a runner, or files into a layer; then the layer into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Final

from builder.errors import BuildCancelledError, BuildEnvironmentError, StepFailedError
from builder.plan.devices import parse_device
from builder.plan.ops import Copy, Run, StepId, Workdir
from builder.runner import RunStep
from builder.solver.materialise import materialise, written
from builder.solver.mounts import prepare_mounts, stackable
from builder.solver.records import StoredLayer, slot_key
from builder.solver.results import Layer, ListedLayer, PendingLayer, Result
from images.futures import Future, wait
from images.snapshots import clear_workspace
from records import Record

if TYPE_CHECKING:
    from builder.plan.model import Step
    from builder.progress.tracker import Vertex
    from builder.solver.files import FilesOf
    from builder.solver.session import Session
    from images.layers.entry import Entry
    from images.layers.merged import MergedTree
    from images.snapshots import Workspace

FAULTS_OF_THE_STEP: Final = {
    "command-not-found": 127,
    "command-not-executable": 126,
    "user-unknown": 126,
}
"""Codes of runner errors that mean the Dockerfile is wrong, with the exit code they stand for."""


class Task(Record):
    """A step that must be done, and what it needs for that."""

    step: Step
    below: Result
    inputs: Mapping[StepId, Result]
    vertex: Vertex
    record: Callable[[StoredLayer], None]
    """Called once the step's layer is stored."""
    stood_on: bool = False
    """Whether a later step reads the files, so that they are needed outside of the blob."""


class Execution(Record):
    """A step that was done: its layer, and the workspace that holds the layer's directory."""

    layer: Layer
    workspace: ExitStack | None = None
    clearing: Future[None] | None = None
    """Takes away what the workspace holds besides the layer's directory."""

    def settle(self, session: Session) -> None:
        """Keep the upper directory as a snapshot if its layer is stored; drop the workspace."""
        if self.workspace is None:
            return
        with self.workspace:
            if self.clearing is not None:
                wait([self.clearing])
            layer = self.layer
            if isinstance(layer, PendingLayer) and layer.future.exception() is None:
                layer.adopt(session.store)


def execute(session: Session, task: Task) -> Execution:
    """Do a step.

    Raises:
        StepFailedError: the command failed.
        BuildInputError: sources, owners or mounts do not fit.
        ImagesError: the layer cannot be stored.
    """
    op = task.step.op
    if task.stood_on or isinstance(op, Run):
        # What the command stands on may have to be fetched and unpacked first.
        session.pool.submit(session.runner.expect)
    if isinstance(op, Run):
        return _run(session, task, op)
    with ExitStack() as stack:

        @cache
        def below() -> MergedTree:
            return stack.enter_context(task.below.tree(session.store))

        match op:
            case Copy():
                source: FilesOf = None
                if isinstance(op.from_, int):
                    result = task.inputs[op.from_]
                    source = stack.enter_context(result.directories(session.store))
                else:
                    source = op.from_
                entries = session.files.copy(op, source, below, created_ns=session.now_ns())
            case Workdir():
                entries = session.files.workdir(op, below, created_ns=session.now_ns())
            case _:
                raise AssertionError(f"step {task.step.id} is a source")
        dated = list(clamped(entries, session.youngest))
        if (
            isinstance(op, Copy)
            and not op.link
            and task.below.layers
            and session.options.privileged
        ):
            dated = _news(session, dated, below())
        if task.stood_on and session.options.privileged:
            return _stand(session, task, dated)
        if isinstance(op, Copy) and not isinstance(op.from_, int):
            layer = _pack_copy(session, task.step, op, dated)
        else:
            layer = _pack(session, dated)
    task.record(layer)
    return Execution(ListedLayer(layer, dated) if session.options.privileged else layer)


def _news(session: Session, entries: Sequence[Entry], below: MergedTree) -> list[Entry]:
    """What a copy changes; owners of files below are known to root alone."""
    from images.layers.unchanged import Below, news

    youngest = session.youngest
    return news(
        entries, Below(below, max_mtime=None if youngest is None else youngest * 1_000_000_000)
    )


def _stand(session: Session, task: Task, entries: Sequence[Entry]) -> Execution:
    """Write files out first, so that the next step can go on while they are being packed."""
    with ExitStack() as failed, task.below.directories(session.store) as lower:
        workspace = failed.enter_context(session.store.snapshots.new_workspace(lower))
        try:
            materialise(entries, workspace.upper)
        except OSError as error:
            raise BuildEnvironmentError(
                f"cannot write the files of a layer: {error.strerror}",
                fix="check the free space of the store",
            ) from error
        # What was just written need not be asked of the file system again.
        same = written(entries, workspace.upper)
        clearing = session.pool.submit(clear_workspace, workspace)
        future = session.pool.submit(_pack_entries, session, task, same)
        return Execution(PendingLayer(future, workspace.upper), failed.pop_all(), clearing)


def _run(session: Session, task: Task, op: Run) -> Execution:
    with ExitStack() as failed:
        with task.below.directories(session.store) as lower:
            workspace = failed.enter_context(session.store.snapshots.new_workspace(lower))
            with (
                session.common.slots,
                prepare_mounts(
                    session, op, task.inputs, workspace.path, reset=session.anew(task.step)
                ) as mounts,
            ):
                run_step = RunStep(
                    args=op.args,
                    env=(*op.env, *op.proxy_env, *mounts.env),
                    cwd=op.cwd,
                    user=op.user,
                    lower=stackable(lower, workspace.path, least=1),
                    upper=workspace.upper,
                    work=workspace.work,
                    output=task.vertex.output,
                    cancellation=session.cancellation,
                    mounts=tuple(mounts.mounts),
                    network=op.network,
                    security=op.security,
                    platform=None if op.platform.matches(session.options.host) else op.platform,
                    hostname=op.hostname,
                    extra_hosts=op.extra_hosts,
                    resources=op.resources,
                    devices=tuple(map(parse_device, op.devices)),
                )
                session.check()
                session.pool.submit(_get_ready_to_pack)
                try:
                    _complete(session, task, op, run_step)
                except StepFailedError as error:
                    session.inspect(run_step, error.what)
                    raise
        session.check()
        clearing = session.pool.submit(clear_workspace, workspace)
        future = session.pool.submit(_pack_upper, session, task, workspace)
        return Execution(PendingLayer(future, workspace.upper), failed.pop_all(), clearing)


def _complete(session: Session, task: Task, op: Run, run_step: RunStep) -> None:
    code = _start(session, task.step, op, run_step)
    if code != 0:
        session.check()
        log = task.vertex.tail()
        raise StepFailedError(op.command, code, log=log, source=task.step.source)


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
        fix = getattr(error, "fix", None)
        if code in FAULTS_OF_THE_STEP:
            exit_code = FAULTS_OF_THE_STEP[str(code)]
            reason = f"exit code: {exit_code}: {what}"
            raise StepFailedError(
                op.command, exit_code, reason=reason, source=step.source, fix=fix
            ) from error
        message = f'process "{op.command}" could not be started: {what}'
        raise BuildEnvironmentError(message, source=step.source, fix=fix) from error


def _get_ready_to_pack() -> None:
    """Import what packing needs, while a command runs that may be all that the build waits for."""
    import images.layers.overlay_diff
    import images.layers.pack  # noqa: F401


def _pack_upper(session: Session, task: Task, workspace: Workspace) -> StoredLayer:
    from images.layers.overlay_diff import scan_upper

    with task.below.directories(session.store) as lowers:
        entries = scan_upper(workspace.upper, max_mtime=session.youngest, lowers=lowers)
        return _pack_entries(session, task, entries)


def _pack_entries(session: Session, task: Task, entries: Iterable[Entry]) -> StoredLayer:
    layer = _pack(session, entries)
    task.record(layer)
    return layer


def clamped(entries: Iterable[Entry], epoch: int | None) -> Iterable[Entry]:
    """``entries`` with no time after ``epoch`` (seconds), which SOURCE_DATE_EPOCH asks for."""
    if epoch is None:
        return entries
    limit = epoch * 1_000_000_000
    return (entry._replace(mtime=limit) if entry.mtime > limit else entry for entry in entries)


def _pack_copy(session: Session, step: Step, op: Copy, entries: Sequence[Entry]) -> StoredLayer:
    """Pack a copy of the context, with the help of the layer that the same copy made before."""
    if session.options.compression != "gzip":
        return _pack(session, entries)
    from images.layers.repack import LayerBlocks, repack_layer

    slot = slot_key((*session.options.slot, "blocks", *op.sources, op.destination))
    raw = None if session.anew(step) else session.values.get(slot)
    before = LayerBlocks.decode(raw) if raw is not None else None
    packed, blocks = repack_layer(entries, session.store.blobs, before)
    # Of a layer of one block nothing is left after an edit.
    if len(blocks.blocks) > 1:
        session.values.put(slot, "blocks", blocks.encode())
    return StoredLayer(packed.diff_id, packed.descriptor, session.created())


def _pack(session: Session, entries: Iterable[Entry]) -> StoredLayer:
    from images.layers.pack import pack_layer

    packed = pack_layer(entries, session.store.blobs, compression=session.options.compression)
    return StoredLayer(packed.diff_id, packed.descriptor, session.created())
