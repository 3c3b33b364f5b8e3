"""The stations of an order that concern remote caches: opened before the build, filled after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.remote.merging import Bounds
from engine.builds.remote_cache.ahead import PushAhead, destinations
from engine.builds.remote_cache.cache import RemoteCaches, Wanted
from engine.builds.remote_cache.exports import Export, Surroundings
from engine.builds.remote_cache.imports import Import, Imports
from engine.builds.remote_cache.in_registry import RegistryCache
from engine.builds.remote_cache.line import Line
from records import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.progress.tracker import Tracker
    from engine.access import Access
    from engine.builds.building import Yard
    from engine.builds.order import BuildOrder
    from engine.builds.remote_cache.options import CacheSource, CacheTarget
    from engine.builds.remote_cache.places import Cache, Goal
    from images.reference import Reference


def open_source(source: CacheSource, line: Line) -> Cache:
    """A cache to read, in a registry or in a directory of this machine."""
    if source.ref is not None:
        return RegistryCache(line, source.ref, verify=source.verify)
    assert source.path is not None
    from engine.builds.remote_cache.in_directory import DirectoryCache

    return DirectoryCache(source.path, source.tag, digest=source.digest)


@contextmanager
def remote_caches(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    opening: Callable[[CacheSource, Line], Cache] = open_source,
) -> Iterator[Yard]:
    """The yard with the order's caches; at the end of the block they are written, if it ends well.

    ``opening`` may know of caches that are neither here nor in a registry.

    Raises:
        CacheExportError: one cannot be written, and that is not to be ignored.
    """
    pushes = list(destinations(order))
    access = _access(yard.access, order)
    line = Line(access)
    sources = () if order.request.no_cache else order.cache_from
    imports = Imports(
        [Import(opening(it, line), ignore_error=it.ignore_error) for it in sources], tracker
    )
    caches = RemoteCaches(yard.store, line, imports, tracker, wanted(order))
    around = Surroundings(caches.outgoing, tracker, caches.near, Bounds())
    caches.exporting += [
        Export(it, _target(it, line), around, stop=caches.stop) for it in order.cache_to
    ]
    caches.pushing += [
        PushAhead(RegistryCache(line, name), packing, around, stop=caches.stop)
        for name, packing, _ in pushes
    ]
    try:
        # What is brought in stays until the last station is done with it.
        with yard.store.lease("remote cache"):
            yield replace(yard, access=access, store=caches.store, caches=caches)
            caches.finish()
    finally:
        caches.close()


def wanted(order: BuildOrder) -> Wanted:
    """What becomes of the order's images, as far as it decides where their layers must be."""
    from engine.builds.delivery.outputs import CACHE_ONLY

    if not order.outputs:
        return Wanted(store=order.request.register)
    pushes: list[Reference] = []
    for output in order.outputs:
        if output.type == CACHE_ONLY:
            continue
        if output.store or not output.push or output.packing.changes or order.squash:
            return Wanted(store=True)
        pushes += output.names or order.request.tags
    return Wanted(store=False, pushes=tuple(pushes))


def _access(access: Access, order: BuildOrder) -> Access:
    """The yard's access, with the registries that a cache says may speak plain HTTP."""
    places: list[CacheSource | CacheTarget] = [*order.cache_from, *order.cache_to]
    plain = {it.ref.registry for it in places if it.insecure and it.ref is not None}
    plain |= {name.registry for name, _, insecure in destinations(order) if insecure}
    return replace(access, insecure=access.insecure | plain) if plain else access


def _target(target: CacheTarget, line: Line) -> Goal:
    if target.ref is not None:
        return RegistryCache(line, target.ref)
    assert target.path is not None
    from engine.builds.remote_cache.in_directory import DirectoryCache

    return DirectoryCache(target.path, target.tag, reset=target.reset)
