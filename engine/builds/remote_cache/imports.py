"""The caches that a build asks: read at the same time while it plans, and asked in their order.

One that is missing or broken is a warning, unless it must not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import BuildError
from builder.remote.index import CachedMount, CacheIndex
from images.errors import ImagesError
from images.futures import CancelledError, Future, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.progress.tracker import Tracker
    from builder.solver.records import StoredLayer
    from engine.builds.remote_cache.places import Cache
    from images.digest import Digest


class CacheImportError(BuildError):
    """A cache that must be there cannot be used."""

    code = "cache-import"


class Import:
    """One cache, being read."""

    def __init__(self, cache: Cache, *, ignore_error: bool) -> None:
        self.cache = cache
        self.ignore_error = ignore_error
        self.broken = False
        """Set when it turned out not to hold what it says; it is not asked any more."""
        self._index: Future[CacheIndex] = Future()
        self._by_key: dict[bytes, tuple[StoredLayer, ...]] = {}
        self._kept: dict[Digest, StoredLayer] = {}

    def start(self, pool: Pool, tracker: Tracker) -> None:
        """Begin to read it."""
        pool.submit(self._load, tracker)

    @property
    def index(self) -> CacheIndex:
        """What it knows; nothing if it is missing or broken.

        Raises:
            CacheImportError: it cannot be read, and that is not to be ignored.
        """
        return CacheIndex() if self.broken else self._index.result()

    def find(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        """The layers of a step, raises as ``index``."""
        self._index.result()
        return None if self.broken else self._by_key.get(key)

    def kept(self, digest: Digest) -> StoredLayer | None:
        """The layer whose blob it keeps, raises as ``index``."""
        self._index.result()
        return None if self.broken else self._kept.get(digest)

    def _load(self, tracker: Tracker) -> None:
        vertex = tracker.start(f"importing cache manifest from {self.cache.label}")
        try:
            index = self.cache.read()
            self._learn(index)
        except ImagesError as error:
            vertex.failed(str(error))
            if not self.ignore_error:
                failure = CacheImportError(
                    f"the cache cannot be used: {error}", where=self.cache.label, fix=error.fix
                )
                failure.__cause__ = error
                self._index.set_exception(failure)
                return
            tracker.warn(f"cache {self.cache.label} is not used: {error}")
            self._index.set_result(CacheIndex())
        except CancelledError:
            # Everything was here, and nobody waited.
            vertex.done()
            self._index.set_result(CacheIndex())
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the index
            vertex.failed(str(error))
            self._index.set_exception(error)
        else:
            vertex.output(1, f"{len(index.records)} steps known\n".encode())
            vertex.done()
            self._index.set_result(index)

    def _learn(self, index: CacheIndex) -> None:
        layers = [mount.layer for mount in index.mounts]
        for record in index.records:
            layers += record.layers
            for key in record.keys:
                self._by_key.setdefault(key, record.layers)
        kept = index.kept()
        self._kept = {it.descriptor.digest: it for it in layers if it.descriptor.digest in kept}


class Imports:
    """All caches of one build; nothing waits for them before it has to."""

    def __init__(self, imports: Sequence[Import], tracker: Tracker) -> None:
        self._imports = imports
        self._pool = Pool(max(1, len(imports)), "cache-import")
        for one in imports:
            one.start(self._pool, tracker)

    def __iter__(self) -> Iterator[Import]:
        return iter(self._imports)

    def find(self, key: bytes) -> Iterator[tuple[Import, tuple[StoredLayer, ...]]]:
        """What each cache has for a key, in their order; raises as ``Import.index``."""
        for one in self._imports:
            layers = one.find(key)
            if layers:
                yield one, layers

    def origins(self, digest: Digest) -> Iterator[tuple[Import, StoredLayer]]:
        """Who keeps a blob, and as what; raises as ``Import.index``."""
        for one in self._imports:
            layer = one.kept(digest)
            if layer is not None:
                yield one, layer

    def mount(self, mount: str) -> Iterator[tuple[Import, CachedMount]]:
        """Who knows what a cache mount held; raises as ``Import.index``."""
        for one in self._imports:
            for found in one.index.mounts:
                if found.id == mount:
                    yield one, found

    def close(self) -> None:
        """Wait for what is being read; closing the line ends that soon."""
        self._pool.close()
