"""The image store of a build whose content may still be elsewhere: opening a blob brings it in.

A blob that is not here is absent for everybody who asks; only whoever opens it to read gets it. So
nothing is fetched for a build that ends in a manifest, and nothing is believed to be stored that
is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from images.blobs import BlobStore
from images.errors import BlobUnknownError
from images.store import ImageStore

if TYPE_CHECKING:
    from images.digest import Digest

Bring = Callable[["Digest"], bool]
"""Brings a blob into the store; False when nobody knows it."""


class FetchingBlobs(BlobStore):
    """A blob store that fetches what is opened and known elsewhere."""

    def __init__(self, root: str, bring: Bring) -> None:
        super().__init__(root)
        self._bring = bring

    def open(self, digest: Digest) -> BinaryIO:
        """As ``BlobStore.open``, after fetching it where it is known.

        Raises:
            BlobUnknownError: it is neither here nor known elsewhere.
            ImagesError: it cannot be fetched.
        """
        try:
            return super().open(digest)
        except BlobUnknownError:
            if not self._bring(digest):
                raise
        return super().open(digest)


class LazyStore(ImageStore):
    """The same store, seen by a build; it shares the other one's database."""

    def __init__(self, store: ImageStore, bring: Bring) -> None:
        super().__init__(store.directory, store.db)
        self.blobs = FetchingBlobs(store.directory, bring)
