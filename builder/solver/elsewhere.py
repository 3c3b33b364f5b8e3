"""What the solver asks of a cache elsewhere, and what it tells one: protocols and values alone.

Layers that are known elsewhere count as there. Whoever opens their blobs in the store that the
build was given brings them in; nothing here fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from builder.solver.records import StoredLayer
from records import Record

if TYPE_CHECKING:
    from images.digest import Digest
    from images.reference import Reference


class SolvedStep(Record):
    """A step whose result is known: its keys, and its layers from the lowest on."""

    keys: tuple[bytes, ...]
    layers: tuple[StoredLayer, ...]
    description: str
    final: bool
    """Whether its layer is one of the image's."""


class Solved(Record):
    """What a finished build knows that other machines can use."""

    steps: tuple[SolvedStep, ...]
    bases: frozenset[Digest]
    """Blobs of base images, which every machine has from where the images are."""
    mounts: tuple[str, ...]
    """Ids of the cache mounts that steps of the target have."""
    executed: bool
    """Whether a command may have changed those mounts."""


class Offer(Record):
    """A layer that is, or will be, one of the results: in the store, so that it can be sent."""

    layer: StoredLayer
    step: str
    """The name of the step that made it; of a base image's layer, the image's."""
    final: bool
    """As in ``SolvedStep``."""
    portable: bool = True
    """Whether caches may have it: it depends on nothing that is this store's own."""
    base: Reference | None = None
    """The image it comes from, where the build did not make it."""


class Elsewhere(Protocol):
    """Caches that other machines filled, and those that this build fills; asked from any thread."""

    @property
    def exports(self) -> bool:
        """Whether this build's results go anywhere; then no record may stand for all of it."""

    def find(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        """The layers of a step done elsewhere; all of them can be had."""

    def has(self, digest: Digest) -> bool:
        """Whether a blob that is not in the store can be had."""

    def offer(self, offer: Offer) -> None:
        """A layer is known while the build goes on; the same may come several times."""

    def solved(self, solved: Solved) -> None:
        """A target is finished."""

    def bring(self, layers: Sequence[StoredLayer]) -> bool:
        """Make an image's layers ready for what becomes of it.

        Returns whether all of them are in the store, so that it can be named there.

        Raises:
            ImagesError: one cannot be had.
        """

    def fill_mount(self, mount: str, directory: Path) -> bool:
        """Put what a cache mount held elsewhere into an empty directory; False when unknown."""
