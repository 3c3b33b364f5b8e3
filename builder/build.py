"""The ordinary build: parse, plan, solve, assemble, store, name; then record it for the fast path.

Everything is written under a lease and the names come last, so a build that is killed leaves a
consistent store and whatever it had finished in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from builder.assembly import AssembledImage, assemble
from builder.dates import timestamp
from builder.fastpath import BuildRecord, pin_bases
from builder.needs import check_entitlements, contexts_read, materials, revalidates
from builder.plan.model import Plan, PlanWarning
from builder.plan.ops import SourceScratch
from builder.plan.options import PlanOptions
from builder.progress.events import ContextRead, MaterialFound
from builder.request import BuildRequest, BuildResult, Material, StepVerdict
from builder.runner import Cancellation, FailureInspector, Resources, StepRunner
from builder.secrets import by_id, digests
from builder.solver.common import CommonWork
from builder.solver.identity import Identities
from builder.solver.records import KeyValueStore, StepRecords
from builder.solver.runnable import check_runnable
from builder.solver.session import Session, SolveOptions
from builder.solver.solver import Solution, solve
from builder.solver.verdicts import Verdicts
from builder.storage import state_directory
from images.futures import Pool
from records import Record

if TYPE_CHECKING:
    from builder.bases import BaseResolver, ResolvedBase
    from builder.fastpath import ContextScans
    from builder.inputs import BuildInputs
    from builder.progress.tracker import Tracker
    from builder.scan import ContextScan
    from builder.solver.elsewhere import Elsewhere
    from builder.solver.files import FilePlanner
    from dockerfile_grammar.nodes import Dockerfile
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore

LEASE_SECONDS: Final = 24 * 3600
PACKERS: Final = 2
"""Layers packed at the same time; each compresses with threads of its own."""


class Workshop(Record):
    """What a build works with; all of it is given, nothing is looked up."""

    store: ImageStore
    values: KeyValueStore
    state: Path
    runner: StepRunner
    resolver: BaseResolver
    tracker: Tracker
    cancellation: Cancellation
    clock: Callable[[], float]
    common: CommonWork
    host: Platform
    on_failure: FailureInspector | None = None
    elsewhere: Elsewhere | None = None


def plan_request(
    request: BuildRequest,
    inputs: BuildInputs,
    platform: Platform,
    *,
    host: Platform,
    state: Path,
    resolver: BaseResolver,
    tracker: Tracker,
    common: CommonWork,
) -> Plan:
    """Parse, lint and plan; the plan's warnings have been shown.

    Raises:
        DockerfileError, PlanError, LintViolationError: the file is at fault.
        ImagesError: a base image cannot be resolved.
    """
    from builder.inputs import ignore_patterns
    from builder.lint.planning import plan_linted
    from builder.lint.selection import selected

    key = (inputs.name, inputs.dockerfile)
    tree, lines = common.definitions.get(key, lambda: _load_definition(inputs, state, tracker))
    options = PlanOptions(
        platform=platform,
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        labels=request.labels,
        network=request.network,
        extra_hosts=request.extra_hosts,
        resources=request.resources or Resources(),
        no_cache_stages=request.no_cache_stages,
        precise_args=request.precise_args,
        name_platform=request.name_platform,
        filename=inputs.name,
        contexts=request.contexts,
    )
    return plan_linted(
        tree,
        lines,
        options,
        _ShownResolver(resolver, tracker, common),
        ignore=ignore_patterns(inputs),
        selection=selected(request.check_rules, usual="default"),
        warn=lambda warning: _warn(warning, tracker, common),
    )


def _load_definition(
    inputs: BuildInputs, state: Path, tracker: Tracker
) -> tuple[Dockerfile, Sequence[str]]:
    from dockerfile_grammar.cache import parse_cached
    from dockerfile_grammar.excerpt import source_lines

    with tracker.start(f"[internal] load build definition from {inputs.name}"):
        tree = parse_cached(inputs.dockerfile, cache_dir=state / "parsed", filename=inputs.name)
        return tree, source_lines(inputs.dockerfile)


def run_build(
    request: BuildRequest,
    inputs: BuildInputs,
    platform: Platform,
    key: bytes,
    shop: Workshop,
    files: FilePlanner,
    scans: ContextScans,
) -> BuildResult:
    """Build and store the image; ``key`` is the request's fingerprint.

    Raises:
        BuildError, DockerfileError, ImagesError: see the families.
        KeyboardInterrupt: every step has been stopped.
    """
    with shop.store.lease("build", ttl=LEASE_SECONDS):
        plan = plan_request(
            request,
            inputs,
            platform,
            host=shop.host,
            state=shop.state,
            resolver=shop.resolver,
            tracker=shop.tracker,
            common=shop.common,
        )
        used = check_entitlements(plan, request)
        seen = {key: scans.of(key).settled() for key in contexts_read(plan, inputs)}
        context = seen.get(None)
        if context is not None:
            shop.tracker.send(ContextRead(*context.measure()))
        solution, extra = _solve(request, inputs, plan, shop, files)
        image = _export(request, plan, solution, shop, extra)
        found = materials(plan, request, inputs, files.fetched())
        if not revalidates(plan):
            _record(key, plan, image, seen, found, used, shop)
    # Builds that were killed leave stages behind; no command need be given for them to go.
    shop.store.sweep_leftovers()
    return BuildResult(
        descriptor=image.descriptor,
        image_id=image.image_id,
        tags=request.tags,
        cached=solution.executed == 0,
        warnings=tuple(warning.message for warning in plan.warnings),
        steps=solution.verdicts,
        base_layers=image.base_layers,
        materials=found,
        entitlements=used,
    )


def identify(request: BuildRequest, plan: Plan, files: FilePlanner, state: Path) -> Identities:
    """The keys of a plan's steps.

    Raises:
        BuildEnvironmentError: the store's key for digests of secrets cannot be used.
    """
    return Identities(
        plan,
        files,
        compression=request.compression,
        secrets=digests(request.secrets, state),
        rewrite_timestamps=request.rewrite_timestamps,
    )


def name_image(
    image: AssembledImage | BuildRecord | BuildResult,
    tags: tuple[Reference, ...],
    store: ImageStore,
) -> None:
    """Register the stored image and point the names at it."""
    store.add_image(image.descriptor)
    for tag in tags:
        store.tag(tag, image.descriptor)


def predict_plan(
    request: BuildRequest,
    inputs: BuildInputs,
    plan: Plan,
    files: FilePlanner,
    values: KeyValueStore,
    store: ImageStore,
) -> tuple[StepVerdict, ...]:
    """What executing a plan would do; raises as ``builder.solver.predict.predict``."""
    from builder.solver.predict import predict

    identities = identify(request, plan, files, state_directory(store))
    return predict(
        plan,
        identities,
        StepRecords(values, store.blobs),
        Verdicts(plan, identities, values, _slot(request, inputs, plan)),
        no_cache=request.no_cache,
    )


def _slot(request: BuildRequest, inputs: BuildInputs, plan: Plan) -> tuple[str, ...]:
    """Names the place whose earlier builds explanations compare with."""
    return (request.origin or str(inputs.context), inputs.name, str(plan.platform))


def _solve(
    request: BuildRequest,
    inputs: BuildInputs,
    plan: Plan,
    shop: Workshop,
    files: FilePlanner,
) -> tuple[Solution, Mapping[str, Any]]:
    """Bring about the plan's result; returns what the image's config has besides, too."""
    options = SolveOptions(
        host=shop.host,
        no_cache=request.no_cache,
        compression=request.compression,
        secrets=by_id(request.secrets),
        ssh=request.ssh,
        privileged=os.geteuid() == 0,
        rewrite_timestamps=request.rewrite_timestamps,
        on_failure=shop.on_failure,
        slot=_slot(request, inputs, plan),
    )
    identities = identify(request, plan, files, shop.state)
    records = StepRecords(shop.values, shop.store.blobs, shop.elsewhere)
    sharing = None
    if shop.elsewhere is not None:
        from builder.remote.sharing import Sharing

        sharing = Sharing(shop.elsewhere, plan, identities, records)
        sharing.begin()
    with Pool(PACKERS, "pack") as pool:
        session = Session(
            plan=plan,
            store=shop.store,
            state=shop.state,
            runner=shop.runner,
            files=files,
            identities=identities,
            records=records,
            values=shop.values,
            tracker=shop.tracker,
            cancellation=shop.cancellation,
            options=options,
            clock=shop.clock,
            pool=pool,
            common=shop.common,
            sharing=sharing,
        )
        check_runnable(session)
        solution = solve(session)
    if sharing is not None:
        sharing.solved(executed=solution.executed > 0)
    return solution, _inline_cache(request, plan, identities, records)


def _inline_cache(
    request: BuildRequest, plan: Plan, identities: Identities, records: StepRecords
) -> Mapping[str, Any]:
    if not (request.inline_cache or request.build_args):
        return {}
    from builder.remote.inline import config_fields, wanted
    from builder.remote.sharing import solved_steps

    if not wanted(request):
        return {}
    # An image must not depend on which of its steps were found.
    return config_fields(solved_steps(plan, identities, records, made_too=False))


def _export(
    request: BuildRequest,
    plan: Plan,
    solution: Solution,
    shop: Workshop,
    extra: Mapping[str, Any],
) -> AssembledImage:
    title = "exporting to image" if request.register else "assembling the image"
    with shop.tracker.start(title) as vertex:
        image = assemble(
            plan.image,
            solution.layers,
            now=timestamp(shop.clock() if plan.epoch is None else plan.epoch),
            annotations=request.annotations,
            extra=extra,
        )
        shop.store.blobs.put(image.config.raw)
        shop.store.blobs.put(image.manifest.raw)
        whole = shop.elsewhere is None or shop.elsewhere.bring(solution.layers)
        if request.register and whole:
            name_image(image, request.tags, shop.store)
        vertex.output(1, f"writing image {image.image_id}\n".encode())
        for tag in request.tags if request.register else ():
            vertex.output(1, f"naming to {tag.familiar}\n".encode())
    return image


def _record(
    key: bytes,
    plan: Plan,
    image: AssembledImage,
    seen: Mapping[str | None, ContextScan | None],
    found: tuple[Material, ...],
    used: tuple[str, ...],
    shop: Workshop,
) -> None:
    """Record the whole build, unless a context that was read cannot be compared later."""
    bases = pin_bases(shop.resolver, [(pin.reference, pin.platform) for pin in plan.bases])
    scans = {name: scan.digest for name, scan in seen.items() if scan is not None}
    if bases is None or len(scans) < len(seen):
        return
    closure = (plan.steps[index] for index in plan.closure(plan.result))
    record = BuildRecord(
        descriptor=image.descriptor,
        image_id=image.image_id,
        blobs=(
            str(image.descriptor.digest),
            str(image.image_id),
            *(str(layer.digest) for layer in image.manifest.layers),
        ),
        bases=bases,
        context=scans.get(None),
        steps=tuple(step.name for step in closure if not isinstance(step.op, SourceScratch)),
        warnings=tuple((warning.message, _where(warning)) for warning in plan.warnings),
        base_layers=image.base_layers,
        contexts=tuple((name, digest) for name, digest in scans.items() if name is not None),
        materials=found,
        entitlements=used,
    )
    shop.values.put(key, "build", record.encode())


def _warn(warning: PlanWarning, tracker: Tracker, common: CommonWork) -> None:
    """Show a warning, once for all builds."""
    where = _where(warning)
    if common.shown.take(f"warning {where} {warning.message}"):
        tracker.warn(warning.message, where)


def _where(warning: PlanWarning) -> str:
    return warning.source.where if warning.source is not None else ""


class _ShownResolver:
    """Shows each base that is being resolved, and resolves each of them once."""

    def __init__(self, resolver: BaseResolver, tracker: Tracker, common: CommonWork) -> None:
        self._resolver = resolver
        self._tracker = tracker
        self._common = common

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        key = (reference, platform)
        return self._common.bases.get(key, lambda: self._resolve(reference, platform))

    def _resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        name = f"[internal] load metadata for {reference}"
        with self._tracker.start(name):
            resolved = self._resolver.resolve(reference, platform)
        self._tracker.send(MaterialFound(str(reference), str(resolved.descriptor.digest)))
        return resolved

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        return self._resolver.pin(reference, platform)
