"""The result of a step: stacked layers, some of which may still be on their way into the store.

The layer of a RUN can be stood on as soon as the command has ended, while its tar is written in the
background. Layers that came from the cache are unpacked only when somebody asks for directories.
An upper directory becomes a snapshot when its layer is packed and nobody works in it, because the
snapshots of layers above need all those below in place. For those who only look, the topmost layers
need not be unpacked at all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from builder.solver.records import StoredLayer
from images.futures import Future
from records import Record, field

if TYPE_CHECKING:
    from images.layers.entry import Entry
    from images.layers.merged import MergedTree
    from images.store import ImageStore


class PendingLayer:
    """A layer being packed from an overlay upper directory, which counts who stands on it."""

    def __init__(self, future: Future[StoredLayer], upper: Path) -> None:
        self.future = future
        self._upper = upper
        self._lock = threading.Lock()
        self._users = 0
        self._adopted = False

    @contextmanager
    def in_use(self) -> Iterator[Path | None]:
        """The upper directory, which stays where it is for the block; None if it has become a
        snapshot.
        """
        with self._lock:
            path = None if self._adopted else self._upper
            self._users += path is not None
        try:
            yield path
        finally:
            if path is not None:
                with self._lock:
                    self._users -= 1

    def adopt(self, store: ImageStore) -> StoredLayer:
        """Wait for the layer and make its directory a snapshot, unless somebody stands on it.

        Raises:
            ImagesError: the layer could not be packed or moved.
        """
        layer = self.future.result()
        with self._lock:
            if not self._users and not self._adopted:
                store.snapshots.adopt(self._upper, layer.diff_id)
                self._adopted = True
        return layer


class ListedLayer(Record):
    """A layer in the store that was never written out; what it holds is known as ``entries``."""

    stored: StoredLayer
    entries: Sequence[Entry] = field(repr=False)


Layer: TypeAlias = StoredLayer | PendingLayer | ListedLayer


class Result(Record):
    """Layers, bottom first."""

    layers: tuple[Layer, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every layer's digest is known already."""
        pending = (layer for layer in self.layers if isinstance(layer, PendingLayer))
        return all(layer.future.done() for layer in pending)

    def stored(self) -> tuple[StoredLayer, ...]:
        """All layers, waiting for those that are being packed.

        Raises:
            ImagesError: one of them could not be packed.
        """
        return tuple(
            layer.future.result() if isinstance(layer, PendingLayer) else _stored(layer)
            for layer in self.layers
        )

    def on_top(self, layer: Layer) -> Result:
        """This result with one more layer."""
        return Result((*self.layers, layer))

    @contextmanager
    def directories(self, store: ImageStore) -> Iterator[tuple[Path, ...]]:
        """Overlay directories, topmost first, for the block; unpacks what is not there yet.

        Raises:
            ImagesError: a blob is missing or damaged, or the disk is full.
        """
        with ExitStack() as stack:
            below = list(self.layers)
            found: list[Path] = []
            while below and isinstance(below[-1], PendingLayer):
                upper = stack.enter_context(below[-1].in_use())
                if upper is None:
                    break
                found.append(upper)
                below.pop()
            if below:
                stored = [
                    layer.adopt(store) if isinstance(layer, PendingLayer) else _stored(layer)
                    for layer in below
                ]
                pairs = [(layer.diff_id, layer.descriptor) for layer in stored]
                found.extend(store.snapshots.ensure(pairs, store.blobs))
            yield tuple(found)

    @contextmanager
    def tree(self, store: ImageStore) -> Iterator[MergedTree]:
        """What is where, for the block; layers that are only listed are not unpacked.

        Raises:
            ImagesError: a blob is missing or damaged, or the disk is full.
        """
        from images.layers.merged import MergedTree

        below = list(self.layers)
        listings: list[Sequence[Entry]] = []
        while below and isinstance(below[-1], ListedLayer):
            listings.append(below[-1].entries)
            below.pop()
        with Result(tuple(below)).directories(store) as lowers:
            if not listings:
                yield MergedTree(lowers)
                return
            from builder.solver.listed import ListedTree

            with store.snapshots.new_workspace() as workspace:
                yield ListedTree(listings, lowers, workspace.work)


def _stored(layer: StoredLayer | ListedLayer) -> StoredLayer:
    return layer.stored if isinstance(layer, ListedLayer) else layer
