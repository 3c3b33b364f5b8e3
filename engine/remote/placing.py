"""Which of a builder's machines builds what, and the build there or here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.build import name_image
from engine.builds import building
from engine.remote import building as remote
from engine.remote.errors import NodeError
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

    PlatformsOf = Callable[[Node], tuple[str, ...]]


class Elsewhere(Record):
    """A builder, and the caches in registries that its machines use themselves."""

    builder: Builder
    cache_from: tuple[CacheSource, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()


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
    node = choose(elsewhere.builder, platform)
    if node.endpoint == LOCAL:
        here = replace(yard, elsewhere=None)
        return building.build(
            request, here, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
        )
    _check(yard, node, on_failure, lock)
    asked = replace(request, platform=platform)
    with yard.store.lease("build elsewhere"):
        result = remote.build(
            asked,
            node,
            yard,
            tracker,
            cancellation=cancellation,
            caches=(elsewhere.cache_from, elsewhere.cache_to),
        )
        if request.register:
            name_image(result, request.tags, yard.store)
    return result


def choose(
    builder: Builder, platform: Platform, *, platforms_of: PlatformsOf | None = None
) -> Node:
    """The machine for a platform: one that was set up for it, else one whose own it is, else one
    that can execute it, else the first that was set up for none: it may have nothing to execute.

    Raises:
        NodeError: all were set up for other platforms.
        ChannelError: one that had to be asked cannot be reached.
    """
    wanted = str(platform)
    for node in builder.nodes:
        if wanted in node.platforms:
            return node
    ask = platforms_of or _platforms_of
    able = [(node, ask(node)) for node in builder.nodes if not node.platforms]
    for node, known in able:
        if known[:1] == (wanted,):
            return node
    for node, known in able:
        if wanted in known:
            return node
    if able:
        return able[0][0]
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


def check_local(builder: Builder, flag: str) -> None:
    """Refuse what needs all of the work to be done here.

    Raises:
        NodeError: a node of the builder is elsewhere.
    """
    for node in builder.nodes:
        if node.endpoint != LOCAL:
            raise _refusal(flag, node)


def _refusal(flag: str, node: Node) -> NodeError:
    return NodeError(
        f"not obeyed at {node.endpoint}", where=flag, fix="build here, with --builder default"
    )


def _check(
    yard: Yard, node: Node, on_failure: FailureInspector | None, lock: BuildLock | None
) -> None:
    refused = {
        "--on-error=shell": on_failure is not None,
        "--lock": lock is not None,
        "--policy": yard.access.explicit,
    }
    for flag, asked in refused.items():
        if asked:
            raise _refusal(flag, node)
