"""The flags that say what is built and where it goes, as an order; ``lading bake`` makes its orders
of them too.
"""

from __future__ import annotations

from engine.builds.order import BuildOrder
from lading.actions.build_request import make_request
from lading.app import default_platform
from records import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from images.platform import Platform


def make_order(
    *,
    platforms: tuple[str, ...],
    cache_from: tuple[str, ...],
    cache_to: tuple[str, ...],
    outputs: tuple[str, ...],
    push: bool,
    load: bool,
    squash: bool,
    verify_reproducible: bool,
    annotations: tuple[str, ...],
    build_contexts: tuple[str, ...],
    attest: tuple[str, ...] = (),
    provenance: str | None = None,
    sbom: str | None = None,
    attest_as: str = "referrers",
    **flags: Any,
) -> BuildOrder:
    """The order; ``flags`` are those of the request.

    Raises:
        UsageError, ImagesError: as ``make_request``, and for a malformed value.
    """
    targets = _platforms(platforms)
    request = make_request(platform=targets[0] if len(targets) == 1 else None, **flags)
    order = BuildOrder(request, platforms=targets)
    if build_contexts or _is_elsewhere(flags["context"], flags["file"]):
        from lading.actions.build_sources import with_sources

        order = with_sources(order, build_contexts)
    if any("=" in agent for agent in flags["agents"]):
        from lading.actions.build_request import ssh_keys

        order = replace(order, keys=ssh_keys(flags["agents"]))
    if cache_from or cache_to:
        order = _with_caches(order, cache_from, cache_to)
    if outputs or push or load or squash or verify_reproducible or annotations:
        from lading.actions.build_delivery import with_delivery

        order = with_delivery(
            order,
            outputs=outputs,
            push=push,
            load=load,
            squash=squash,
            verify_reproducible=verify_reproducible,
            annotations=annotations,
        )
    if attest or provenance is not None or sbom is not None:
        from engine.builds.attesting.options import parse_attesting

        wanted = parse_attesting(attest, provenance=provenance, sbom=sbom, form=attest_as)
        order = replace(order, attesting=wanted)
    return order


def _is_elsewhere(context: str, file: str | None) -> bool:
    """Whether the context or the Dockerfile may be no path of this machine; a look at the text."""
    far = context == "-" or "://" in context or "@" in context or context.startswith("github.com/")
    return far or (file is not None and (file == "-" or "://" in file))


def _platforms(values: tuple[str, ...]) -> tuple[Platform, ...]:
    wanted = values or tuple(filter(None, [default_platform()]))
    if not wanted:
        return ()
    from images.platform import Platform

    return Platform.parse_list(wanted)


def _with_caches(
    order: BuildOrder, cache_from: tuple[str, ...], cache_to: tuple[str, ...]
) -> BuildOrder:
    from engine.builds.remote_cache.options import parse_sources, parse_targets

    targets, inline = parse_targets(cache_to)
    return replace(
        order,
        request=replace(order.request, inline_cache=inline),
        cache_from=parse_sources(cache_from),
        cache_to=targets,
    )
