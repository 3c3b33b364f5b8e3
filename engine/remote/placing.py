"""Which of a builder's machines builds what, and the build there or here.

A machine that cannot be reached, or goes away in the middle, is passed over where there is another
one that can build the platform; what it had done is in its own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from builder.build import name_image
from engine.builds import building
from engine.remote import building as remote
from engine.remote.errors import ChannelError, NodeError
from engine.remote.nodes import LOCAL, Builder, Node
from images.platform import Platform
from records import Record, replace

if TYPE_CHECKING:
    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Cancellation, FailureInspector
    from engine.builds.building import Yard
    from engine.builds.lock import BuildLock
    from engine.builds.remote_cache.options import CacheSource, CacheTarget
    from engine.remote.caches import Collected

    PlatformsOf = Callable[[Node], tuple[str, ...]]


class Elsewhere(Record):
    """A builder, and the caches in registries that its machines use themselves."""

    builder: Builder
    cache_from: tuple[CacheSource, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()
    collected: Collected | None = None
    """What caches of this machine are to have of the builds."""
    verify: bool = False
    """Whoever builds does so twice, apart, and compares."""


def build(
    request: BuildRequest,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
) -> BuildResult:
    """Build one image at the machine for its platform.

    Raises:
        NodeError: no machine builds the platform, or something is asked that works here alone.
        BuildError, RemoteBuildError, ChannelError: see ``engine.remote.building.build``.
    """
    elsewhere = yard.elsewhere
    assert elsewhere is not None
    platform = request.platform or Platform.host()
    lost: list[tuple[Node, ChannelError]] = []
    for node in candidates(elsewhere.builder, platform):
        for before, error in lost[-1:]:
            tracker.warn(f"{before.endpoint}: {error.what}; building at {node.endpoint}")
        if node.endpoint == LOCAL:
            return _build_here(
                request, yard, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
            )
        try:
            with yard.store.lease("build elsewhere"):
                result = remote.build(
                    replace(request, platform=platform),
                    node,
                    yard,
                    tracker,
                    elsewhere=elsewhere,
                    cancellation=cancellation,
                    lock=lock,
                    shell=on_failure is not None,
                )
                if request.register:
                    name_image(result, request.tags, yard.store)
            return result
        except ChannelError as error:
            lost.append((node, error))
    raise lost[-1][1]


def _build_here(
    request: BuildRequest,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None,
    on_failure: FailureInspector | None,
    lock: BuildLock | None,
) -> BuildResult:
    """At the node that is this machine, with the same caches; raises as ``building.build``."""
    from engine.builds.order import BuildOrder
    from engine.builds.remote_cache.station import remote_caches

    elsewhere = yard.elsewhere
    assert elsewhere is not None
    own = () if elsewhere.collected is None else elsewhere.collected.targets
    order = BuildOrder(
        replace(request, register=True),
        cache_from=elsewhere.cache_from,
        cache_to=(*elsewhere.cache_to, *own),
        verify=elsewhere.verify,
    )
    here = replace(yard, elsewhere=None)
    caches = bool(order.cache_from or order.cache_to)
    with remote_caches(order, here, tracker) if caches else nullcontext(here) as cached:
        result = building.build(
            request, cached, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
        )
        if elsewhere.verify:
            from engine.builds.reproducing import verify

            verify(request, result, here, tracker, cancellation=cancellation, lock=lock)
        return result


def choose(
    builder: Builder, platform: Platform, *, platforms_of: PlatformsOf | None = None
) -> Node:
    """The machine for a platform; raises as ``candidates``."""
    return next(candidates(builder, platform, platforms_of=platforms_of))


def candidates(
    builder: Builder, platform: Platform, *, platforms_of: PlatformsOf | None = None
) -> Iterator[Node]:
    """The machines for a platform, the best first: those that were set up for it, then those whose
    own it is, then those that can execute it, then those that were set up for none: there may be
    nothing to execute.

    They are asked no earlier than they have to be.

    Raises:
        NodeError: all were set up for other platforms.
        ChannelError: none of those that had to be asked can be reached.
    """
    wanted = str(platform)
    chosen = [node for node in builder.nodes if wanted in node.platforms]
    yield from chosen
    ask = platforms_of or _platforms_of
    able: list[tuple[Node, tuple[str, ...]]] = []
    silent: ChannelError | None = None
    for node in builder.nodes:
        if not node.platforms:
            try:
                able.append((node, ask(node)))
            except ChannelError as error:
                silent = error
    yield from (node for node, known in able if known[:1] == (wanted,))
    yield from (node for node, known in able if wanted in known[1:])
    yield from (node for node, known in able if wanted not in known)
    if chosen or able:
        return
    if silent is not None:
        raise silent
    offered = dict.fromkeys(text for node in builder.nodes for text in node.platforms)
    raise NodeError(
        f"no node of the builder {builder.name} builds for {platform}",
        where="--platform",
        fix=f"it builds for {', '.join(offered)}; add a node: "
        f"lading builder create --append --platform {platform} {builder.name} ENDPOINT",
    )


def _platforms_of(node: Node) -> tuple[str, ...]:
    if node.endpoint == LOCAL:
        from engine.remote.serving import platforms

        return tuple(dict.fromkeys([str(Platform.host()), *platforms()]))
    return remote.platforms_of(node)
