"""Builds as the command line asks for them: the builder joined to a runtime and registries."""

from __future__ import annotations

import json
import os

from builder import api
from builder.progress.tracker import Tracker
from engine.builds.resolving import PullingResolver
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from builder.lint.report import LintReport
    from builder.progress.events import ProgressSink
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Cancellation, FailureInspector, RunStep
    from builder.solver.common import CommonWork
    from engine.access import Access
    from engine.builds.lock import BuildLock
    from engine.builds.remote_cache.cache import RemoteCaches
    from engine.builds.source_rules import SourceRules
    from engine.remote.placing import Elsewhere
    from images.client.progress import Event
    from images.platform import Platform
    from images.store import ImageStore


FULL: Final = 1 << 20
"""A disk with less than this many bytes left is the likely reason for a failed step."""


class Yard(Record):
    """Where builds happen: the store, the way to registries, the launcher's directory."""

    store: ImageStore
    access: Access
    runtime_dir: str
    caches: RemoteCaches | None = None
    """Caches elsewhere; they come with a store that brings in what they know."""
    elsewhere: Elsewhere | None = None
    """Machines that build in place of this one."""


class LazyRunner:
    """A ``StepRunner`` that imports the runtime with the first step: a cached build has none."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._ready = False

    def check(self, platform: Platform) -> None:
        """Whether commands of another platform can be run; raises as ``Emulation.check``."""
        from engine.builds.emulation import Emulation

        Emulation().check(platform)

    def expect(self) -> None:
        """Have the launcher started, which takes as long as unpacking a small base image."""
        if self._ready:
            return
        self._ready = True
        from contextlib import suppress

        from runtime.client import prepare
        from runtime.errors import RuntimeFault

        with suppress(RuntimeFault, OSError):
            prepare(self._yard.runtime_dir)
        # Imported while the launcher starts, which needs none of it.
        import engine.builds.steps  # noqa: F401

    def run(self, step: RunStep) -> int:
        """Run one step in a container; raises as ``StepRunner.run``.

        What a program says on a full disk is often something else, so the log gets a last line.
        """
        from pathlib import Path

        from builder.runner import STDERR
        from engine.builds.steps import ContainerSteps
        from engine.containers.directory import STUBS

        stubs = self._yard.store.root / STUBS
        status = ContainerSteps(Path(self._yard.runtime_dir), stubs).run(step)
        disk = os.statvfs(step.upper)
        if status != 0 and disk.f_bavail * disk.f_frsize < FULL:
            text = f"no space left on device for {self._yard.store.root}"
            step.output(STDERR, f"lading: {text}: try `lading system prune`\n".encode())
        return status


def build(
    request: BuildRequest,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    common: CommonWork | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
) -> BuildResult:
    """Build; raises as ``builder.api.build``, and as ``engine.registries.pull`` for base images.

    ``lock`` is obeyed and told; writing it is the caller's, and so is closing the display.
    """

    if yard.elsewhere is not None:
        from engine.remote import placing

        return placing.build(
            request, yard, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
        )

    def attempt(cancellation: Cancellation | None) -> BuildResult:
        return api.build(
            request,
            store=yard.store,
            runner=LazyRunner(yard),
            resolver=_resolver(request, yard, lock),
            tracker=tracker,
            cancellation=cancellation,
            common=common,
            on_failure=on_failure,
            judge=judge_of(yard, lock),
            elsewhere=yard.caches,
        )

    if yard.caches is None:
        return attempt(cancellation)
    return yard.caches.attempt(attempt, cancellation)


def show_plan(
    requests: Sequence[BuildRequest],
    yard: Yard,
    progress: ProgressSink,
    *,
    form: str,
    explain: bool = False,
    lock: BuildLock | None = None,
) -> str:
    """The plans of builds: ``text``, ``json`` (several are a list) or ``dot``; raises as ``build``.

    ``explain`` adds what would be done, for which there is no place in a graph. ``lock`` is obeyed
    and not written.
    """
    tracker = Tracker(progress)
    try:
        shown = [
            _shown_plan(request, yard, tracker, form=form, explain=explain, lock=lock)
            for request in requests
        ]
    finally:
        progress.close()
    if form == "json":
        return json.dumps(shown[0] if len(shown) == 1 else shown, indent=2) + "\n"
    return "\n".join(map(str, shown))


def _shown_plan(
    request: BuildRequest,
    yard: Yard,
    tracker: Tracker,
    *,
    form: str,
    explain: bool,
    lock: BuildLock | None,
) -> str | dict[str, Any]:
    from builder.explanation import explanation_json, explanation_text
    from builder.plan.render import plan_dot, plan_json, plan_text

    resolver = _resolver(request, yard, lock)
    if explain:
        plan, steps = api.predict(
            request,
            store=yard.store,
            resolver=resolver,
            tracker=tracker,
            judge=judge_of(yard, lock),
        )
        if form == "json":
            return {**plan_json(plan), "cache": explanation_json(steps)}
        return f"{plan_text(plan)}\n{explanation_text(steps, planned=True)}"
    plan = api.plan(request, store=yard.store, resolver=resolver, tracker=tracker)
    if form == "json":
        return plan_json(plan)
    return plan_dot(plan) if form == "dot" else plan_text(plan)


def outline(request: BuildRequest, yard: Yard) -> dict[str, Any]:
    """What a target can be told; raises as ``builder.calls.outline.outline``."""
    from builder.calls.outline import outline as look
    from builder.named_images import with_named_images
    from engine.builds.peeking import PeekingResolver

    peeking = PeekingResolver(yard.store, yard.access, always=request.pull)
    return look(request, resolver=with_named_images(peeking, request.contexts, yard.store))


def check(request: BuildRequest, yard: Yard) -> LintReport:
    """Check a Dockerfile without building it; raises as ``builder.lint.check.check``."""
    from builder.lint.check import check as look
    from builder.lint.selection import selected
    from builder.named_images import with_named_images
    from engine.builds.peeking import PeekingResolver

    peeking = PeekingResolver(yard.store, yard.access, always=request.pull)
    return look(
        request,
        resolver=with_named_images(peeking, request.contexts, yard.store),
        selection=selected(request.check_rules, usual="recommended"),
    )


def _resolver(request: BuildRequest, yard: Yard, lock: BuildLock | None) -> PullingResolver:
    if yard.caches is not None:
        return yard.caches.resolver(yard.access, progress=_ignore, always=request.pull, lock=lock)
    return PullingResolver(
        yard.store, yard.access, progress=_ignore, always=request.pull, lock=lock
    )


def judge_of(yard: Yard, lock: BuildLock | None) -> SourceRules | None:
    """What decides about files and repositories from elsewhere; None where all may be used."""
    access = yard.access
    if lock is None and not access.explicit and access.judge is None:
        return None
    from engine.builds.source_rules import SourceRules

    return SourceRules(access.policy() if access.explicit else None, lock, access.judge)


def _ignore(event: Event) -> None:
    """The build shows resolving as a step of its own; layers are not listed."""
