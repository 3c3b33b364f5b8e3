"""The image store of a build whose content may still be elsewhere: opening a blob brings it in.

A blob that is not here is absent for everybody who asks; only whoever opens it to read gets it. So
nothing is fetched for a build that ends in a manifest, and nothing is believed to be stored that
is not.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from images.blobs import BlobStore
from images.errors import BlobUnknownError
from images.futures import CancelledError
from images.store import ImageStore

if TYPE_CHECKING:
    import threading

    from images.digest import Digest

Bring = Callable[["Digest"], bool]
"""Brings a blob into the store; False when nobody knows it."""
Follow = Callable[["Digest"], "BinaryIO | None"]
"""Begins to bring a blob; what arrives, or None where nothing does."""


class FetchingBlobs(BlobStore):
    """A blob store that fetches what is opened and known elsewhere."""

    def __init__(self, root: str, bring: Bring, follow: Follow | None = None) -> None:
        super().__init__(root)
        self._bring = bring
        self._follow = follow

    def open_early(self, digest: Digest) -> BinaryIO | None:
        """As ``BlobStore.open_early``, of what is known elsewhere."""
        if self._follow is None or self.has(digest):
            return None
        return self._follow(digest)

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

    def __init__(
        self,
        store: ImageStore,
        bring: Bring,
        follow: Follow | None = None,
        *,
        ended: threading.Event | None = None,
    ) -> None:
        """``ended`` set, whoever reads a blob is stopped by ``CancelledError``."""
        super().__init__(store.directory, store.db)
        self.blobs = FetchingBlobs(store.directory, bring, follow)
        if ended is not None:
            self.blobs = _EndingBlobs(store.directory, bring, ended)


class _EndingBlobs(FetchingBlobs):
    """Blobs that are read in the background, which must not outlive what it is for."""

    def __init__(self, root: str, bring: Bring, ended: threading.Event) -> None:
        super().__init__(root, bring)
        self._ended = ended

    def open(self, digest: Digest) -> BinaryIO:
        return cast("BinaryIO", _Ending(super().open(digest), self._ended))


class _Ending(io.BufferedIOBase):
    """A file that is read until an event."""

    def __init__(self, file: BinaryIO, ended: threading.Event) -> None:
        self._file = file
        self._ended = ended

    def read(self, size: int | None = -1, /) -> bytes:
        if self._ended.is_set():
            raise CancelledError
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
