"""The result of a step: stacked layers, some of which may still be on their way into the store.

The layer of a RUN can be stood on as soon as the command has ended, while its tar is written in the
background. Layers that came from the cache are unpacked only when somebody asks for directories.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from builder.solver.records import StoredLayer

if TYPE_CHECKING:
    from images.store import ImageStore


@dataclass(frozen=True, slots=True)
class PendingLayer:
    """A layer being packed. ``upper`` is its overlay directory, when it already exists as one."""

    future: Future[StoredLayer]
    upper: Path | None = None


Layer: TypeAlias = StoredLayer | PendingLayer


@dataclass(frozen=True, slots=True)
class Result:
    """Layers, bottom first."""

    layers: tuple[Layer, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every layer's digest is known already."""
        return all(isinstance(layer, StoredLayer) or layer.future.done() for layer in self.layers)

    def stored(self) -> tuple[StoredLayer, ...]:
        """All layers, waiting for those that are being packed.

        Raises:
            ImagesError: one of them could not be packed.
        """
        return tuple(
            layer if isinstance(layer, StoredLayer) else layer.future.result()
            for layer in self.layers
        )

    def on_top(self, layer: Layer) -> Result:
        """This result with one more layer."""
        return Result((*self.layers, layer))

    def directories(self, store: ImageStore) -> tuple[Path, ...]:
        """Overlay directories, topmost first; unpacks what is not there yet.

        Raises:
            ImagesError: a blob is missing or damaged, or the disk is full.
        """
        found: list[Path] = []
        run: list[StoredLayer] = []
        for layer in self.layers:
            if isinstance(layer, PendingLayer) and layer.upper is not None:
                found.extend(reversed(_unpack(store, run)))
                found.append(layer.upper)
                run = []
            elif isinstance(layer, PendingLayer):
                run.append(layer.future.result())
            else:
                run.append(layer)
        found.extend(reversed(_unpack(store, run)))
        return tuple(reversed(found))


def _unpack(store: ImageStore, layers: list[StoredLayer]) -> list[Path]:
    """The directories of ``layers``, topmost first."""
    if not layers:
        return []
    pairs = [(layer.diff_id, layer.descriptor) for layer in layers]
    return list(store.snapshots.ensure(pairs, store.blobs))
