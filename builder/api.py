"""The builder's front door: ``build`` and ``plan``.

Nothing here prints or exits. The imports at the top are those of a build that is answered from its
record; planning and solving are imported when they are needed.
"""

from __future__ import annotations

import errno
import os

from builder.errors import BuildInputError
from builder.fastpath import BuildRecord, ContextScans, find_record, fingerprint
from builder.inputs import read_inputs
from builder.progress.events import DefinitionRead
from builder.request import BuildRequest, BuildResult, StepVerdict
from builder.storage import CacheTable, state_directory
from images.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from builder.bases import BaseResolver
    from builder.build import Workshop
    from builder.downloads import DownloadJudge
    from builder.inputs import BuildInputs
    from builder.plan.model import Plan
    from builder.progress.tracker import Tracker
    from builder.runner import Cancellation, FailureInspector, StepRunner
    from builder.solver.common import CommonWork
    from builder.solver.elsewhere import Elsewhere
    from images.store import ImageStore

WHOLE_BUILD = "nothing changed since the whole build was recorded"
_MOVED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
"""What a name says that was listed and is not there any more, or as something else."""

__all__ = ["BuildRequest", "BuildResult", "build", "plan", "predict"]


def build(
    request: BuildRequest,
    *,
    store: ImageStore,
    runner: StepRunner,
    resolver: BaseResolver,
    tracker: Tracker,
    cancellation: Cancellation | None = None,
    common: CommonWork | None = None,
    on_failure: FailureInspector | None = None,
    judge: DownloadJudge | None = None,
    elsewhere: Elsewhere | None = None,
) -> BuildResult:
    """Build an image, store it and point the request's tags at it.

    ``tracker`` shows the steps and is the build's clock; several builds may share one, and closing
    its sink is left to whoever made it. ``common`` is what builds share that were ordered
    together. ``on_failure`` may look at a command that failed, before
    its root goes. ``judge`` decides about files that ADD fetches; with it no record stands for the
    whole build. ``elsewhere`` answers steps that were done elsewhere, and hears of those done here;
    a store that brings in what it knows belongs with it.

    Raises:
        DockerfileError: the Dockerfile does not parse.
        BuildInputError: the inputs are at fault (``PlanError``, ``TargetUnknownError``, ...).
        StepFailedError: a command failed.
        BuildEnvironmentError: this machine cannot do it.
        BuildCancelledError: ``cancellation`` fired.
        ImagesError: a base or the store is at fault.
        KeyboardInterrupt: interrupted; every running step has been killed.
    """
    inputs = read_inputs(request)
    tracker.send(DefinitionRead(inputs.name, inputs.dockerfile))
    try:
        platform = request.platform or Platform.host()
        values = CacheTable(store)
        if request.contexts:
            from builder.named_images import with_named_images

            resolver = with_named_images(resolver, request.contexts, store)
        key = fingerprint(request, inputs, platform, _secret_digests(request, store))
        scans = ContextScans(inputs, lambda: int(tracker.now() * 1e9), common)
        exports = elsewhere is not None and elsewhere.exports
        if not (request.no_cache or request.no_cache_stages or request.pull or judge or exports):
            record = find_record(
                key, values=values, blobs=store.blobs, resolver=resolver, scans=scans
            )
            if record is not None:
                return _repeat(record, request, store, tracker)
        from builder.build import run_build
        from builder.placement import placed_files
        from builder.solver.common import CommonWork

        common = common or CommonWork()
        shop = _workshop(
            store, values, runner, resolver, tracker, cancellation, common, on_failure, elsewhere
        )
        with placed_files(
            request,
            inputs,
            store,
            now_ns=int(tracker.now() * 1e9),
            scans=scans,
            judge=judge,
            cancellation=shop.cancellation,
            common=common,
        ) as files:
            return run_build(request, inputs, platform, key, shop, files, scans)
    except OSError as error:
        if not _of_context(error, inputs):
            raise
        # What was there a moment ago is gone, or something else now.
        raise BuildInputError(
            f"{os.fsdecode(error.filename)} changed while it was read: {error.strerror}",
            fix="build again when nothing writes to the sources",
        ) from error


def _of_context(error: OSError, inputs: BuildInputs) -> bool:
    """Whether it is about a file of a context that is not what it was when it was listed."""
    roots = [local.path for local in (inputs.main, *inputs.named.values()) if local is not None]
    if error.errno not in _MOVED or error.filename is None or not roots:
        return False
    # Files of a context are opened below a descriptor, the store's by their whole path.
    name = os.fsdecode(error.filename)
    return not os.path.isabs(name) or name.startswith(tuple(roots))


def plan(
    request: BuildRequest,
    *,
    store: ImageStore,
    resolver: BaseResolver,
    tracker: Tracker,
) -> Plan:
    """Plan a build without executing anything; see ``builder.plan.render`` to print it.

    Raises:
        DockerfileError, BuildInputError, ImagesError: as ``build``.
    """
    return _plan(request, read_inputs(request), store, resolver, tracker)


def predict(
    request: BuildRequest,
    *,
    store: ImageStore,
    resolver: BaseResolver,
    tracker: Tracker,
    judge: DownloadJudge | None = None,
) -> tuple[Plan, tuple[StepVerdict, ...]]:
    """Plan a build, and tell from the records alone what it would do.

    Raises:
        DockerfileError, BuildInputError, ImagesError: as ``build``.
    """
    from builder.build import predict_plan
    from builder.placement import placed_files

    inputs = read_inputs(request)
    planned = _plan(request, inputs, store, resolver, tracker)
    now_ns = int(tracker.now() * 1e9)
    with placed_files(request, inputs, store, now_ns=now_ns, judge=judge) as files:
        return planned, predict_plan(request, inputs, planned, files, CacheTable(store), store)


def _plan(
    request: BuildRequest,
    inputs: BuildInputs,
    store: ImageStore,
    resolver: BaseResolver,
    tracker: Tracker,
) -> Plan:
    from builder.build import plan_request
    from builder.named_images import with_named_images
    from builder.solver.common import CommonWork

    resolver = with_named_images(resolver, request.contexts, store)
    return plan_request(
        request,
        inputs,
        request.platform or Platform.host(),
        host=Platform.host(),
        state=state_directory(store),
        resolver=resolver,
        tracker=tracker,
        common=CommonWork(),
    )


def _workshop(
    store: ImageStore,
    values: CacheTable,
    runner: StepRunner,
    resolver: BaseResolver,
    tracker: Tracker,
    cancellation: Cancellation | None,
    common: CommonWork,
    on_failure: FailureInspector | None,
    elsewhere: Elsewhere | None,
) -> Workshop:
    from builder.build import Workshop
    from builder.runner import Cancellation

    return Workshop(
        store=store,
        values=values,
        state=state_directory(store),
        runner=runner,
        resolver=resolver,
        tracker=tracker,
        cancellation=cancellation or Cancellation(),
        clock=tracker.now,
        common=common,
        host=Platform.host(),
        on_failure=on_failure,
        elsewhere=elsewhere,
    )


def _secret_digests(request: BuildRequest, store: ImageStore) -> dict[str, bytes]:
    """The digests of the secrets that steps depend on; few builds have any."""
    if not any(secret.keyed for secret in request.secrets):
        return {}
    from builder.secrets import digests

    return digests(request.secrets, state_directory(store))


def _repeat(
    record: BuildRecord, request: BuildRequest, store: ImageStore, tracker: Tracker
) -> BuildResult:
    """Show the recorded steps, name the image once more."""
    for name in record.steps:
        tracker.cached(name)
    for message, where in record.warnings:
        tracker.warn(message, where)
    if request.register and not request.tags:
        # A name would keep the image; without one it must be known as an image, rmi or not.
        store.add_image(record.descriptor)
    for tag in request.tags if request.register else ():
        # A durable write waits for the disk, so it is not made where it would change nothing.
        if store.resolve(tag) != record.descriptor:
            store.tag(tag, record.descriptor)
    return BuildResult(
        descriptor=record.descriptor,
        image_id=record.image_id,
        tags=request.tags,
        cached=True,
        warnings=tuple(message for message, _ in record.warnings),
        steps=tuple(StepVerdict(name, "cached", WHOLE_BUILD) for name in record.steps),
        base_layers=record.base_layers,
        materials=record.materials,
        entitlements=record.entitlements,
    )
