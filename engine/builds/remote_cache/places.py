"""Where caches are: what the build asks of a registry and of a directory alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol

from builder.remote.index import CacheIndex

if TYPE_CHECKING:
    from images.blobs import BlobStore
    from images.client.progress import LayerState
    from images.descriptor import Descriptor
    from images.reference import Reference

Change = Callable[[CacheIndex], CacheIndex]
"""From the index that a cache has now, empty when there is none, to the one it is to have."""


def unheard(_: int) -> None:
    """Nobody wants to know how far it is."""


class Origin(Protocol):
    """Where the content of a cache, or of a base image, can be had; asked from any thread."""

    @property
    def label(self) -> str:
        """How people know it."""

    @property
    def reference(self) -> Reference | None:
        """Its repository, if it is one."""

    def fetch(self, descriptor: Descriptor, blobs: BlobStore) -> None:
        """Bring a blob into a store, verified.

        Raises:
            ImagesError: it cannot be had, or is something else.
        """


class Cache(Origin, Protocol):
    """A cache to read."""

    def read(self) -> CacheIndex:
        """What it knows.

        Raises:
            CacheFormatError: it is no cache, or a damaged one.
            ImagesError: it cannot be had.
        """


class Goal(Cache, Protocol):
    """A cache to fill as well."""

    def send(
        self,
        descriptor: Descriptor,
        source: Callable[[], BinaryIO],
        *,
        near: Reference | None,
        report: Callable[[int], None] = unheard,
    ) -> LayerState:
        """Bring a blob there unless it is; ``source`` opens its bytes when they are needed.

        ``near`` is a repository that is known to have it. ``report`` hears the bytes so far. How it
        came to be there is EXISTS, MOUNTED or DONE.

        Raises:
            ImagesError: it cannot be sent.
        """

    def publish(self, change: Change) -> Descriptor:
        """Replace the index in one step; all that it keeps has been sent. Returns the manifest's.

        ``change`` is asked again when somebody else was quicker.

        Raises:
            ImagesError: it cannot be written; what was there is as it was.
        """

    def release(self) -> None:
        """Nothing more is sent; harmless when repeated."""
