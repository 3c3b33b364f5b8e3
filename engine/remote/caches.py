"""Caches in the client's directories, for builds at other machines: read there piece by piece
(``lending``), filled here at the end with what the builds handed over.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from builder.remote.merging import Bounds
from engine.builds.remote_cache.exports import Export, Surroundings
from engine.builds.remote_cache.in_directory import DirectoryCache
from records import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.progress.tracker import Tracker
    from builder.remote.index import CachedMount
    from builder.solver.elsewhere import Solved
    from engine.builds.building import Yard
    from engine.builds.order import BuildOrder
    from engine.builds.remote_cache.options import CacheTarget


class Collected:
    """What builds elsewhere know that the client's own caches are to have."""

    def __init__(self, targets: Sequence[CacheTarget]) -> None:
        self.targets = targets
        self.solved: list[Solved] = []
        self.mounts: dict[str, CachedMount] = {}

    def take(self, solved: Sequence[Solved], mounts: Sequence[CachedMount]) -> None:
        """Add what one build handed over; its layers are in the store."""
        self.solved += solved
        self.mounts.update((mount.id, mount) for mount in mounts)


@contextmanager
def client_caches(order: BuildOrder, yard: Yard, tracker: Tracker) -> Iterator[Yard]:
    """The yard, whose builds elsewhere use the order's caches; at the end of the block those in
    directories are written.

    Raises:
        CacheExportError: one cannot be written, and that is not to be ignored.
    """
    assert yard.elsewhere is not None
    own = Collected([it for it in order.cache_to if it.path is not None])
    shared = tuple(it for it in order.cache_to if it.path is None)
    sources = () if order.request.no_cache else order.cache_from
    elsewhere = replace(yard.elsewhere, cache_from=sources, cache_to=shared, collected=own)
    with yard.store.lease("caches of builds elsewhere"):
        yield replace(yard, elsewhere=elsewhere)
        for target in own.targets:
            _fill(target, own, yard, tracker)


def _fill(target: CacheTarget, own: Collected, yard: Yard, tracker: Tracker) -> None:
    assert target.path is not None
    goal = DirectoryCache(target.path, target.tag, reset=target.reset)
    around = Surroundings(yard.store, tracker, lambda _: None, Bounds())
    with ExitStack() as stack:
        export = Export(target, goal, around, stop=lambda _: None)
        stack.callback(export.close)
        mounts = tuple(own.mounts.values()) if target.mounts else ()
        export.finish(own.solved, mounts)
