"""A cache being filled: layers go out as soon as they are packed, the index last.

Uploads run in threads of their own beside the build. When all layers are there, the index of this
build is merged with what the tag has by then and replaces it in one step, so a process that is
killed leaves the old cache whole.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from builder.dates import timestamp
from builder.errors import BuildError, BuildInputError
from builder.remote.index import CachedMount, CacheIndex, CacheRecord
from builder.remote.merging import Bounds, merge
from builder.remote.packing import pack_mount
from builder.solver.records import StoredLayer
from builder.storage import state_directory
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import layer_compression
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from builder.progress.tracker import Tracker, Vertex
    from builder.solver.elsewhere import Solved, SolvedStep
    from engine.builds.remote_cache.options import CacheTarget
    from engine.builds.remote_cache.places import Goal
    from images.descriptor import Descriptor
    from images.reference import Reference
    from images.store import ImageStore

UPLOADS: Final = 4
"""Layers on their way at the same time."""
NAMES: Final = {"gzip": "gzip", "zstd": "zstd", "none": "uncompressed"}
"""Compressions as ``images.layers.convert`` calls them."""


class CacheExportError(BuildError):
    """A cache cannot be filled, and that is not to be ignored."""

    code = "cache-export"


class Surroundings(Record):
    """What exports work with."""

    store: ImageStore
    """Whose blobs can be opened wherever they are."""
    tracker: Tracker
    near: Callable[[Digest], Reference | None]
    """The repository that a blob can be had from, where there is one."""
    bounds: Bounds


class Export:
    """One cache being filled; ``offer`` may be called from any thread."""

    def __init__(self, target: CacheTarget, goal: Goal, around: Surroundings) -> None:
        self.target = target
        self._goal = goal
        self._around = around
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(UPLOADS, "cache-export")
        self._sent: dict[Digest, Future[Descriptor]] = {}

    def offer(self, layer: StoredLayer, *, final: bool) -> None:
        """Begin to send a layer, if this cache is to have it."""
        if final or self.target.mode == "max":
            self._send(layer)

    def solved(self, solved: Solved) -> None:
        """Begin with what a finished build did not have to make."""
        for step in self._wanted(solved):
            for layer in step.layers:
                if layer.descriptor.digest not in solved.bases:
                    self._send(layer)

    def finish(self, finished: Sequence[Solved]) -> None:
        """Send the rest, wait for all of it, and write the index.

        Raises:
            CacheExportError: it cannot be done, and that is not to be ignored.
        """
        vertex = self._around.tracker.start(f"exporting cache to {self.target.label}")
        try:
            index = self._index(finished, vertex)
            self._write(index, vertex)
        except ImagesError as error:
            vertex.failed(str(error))
            if not self.target.ignore_error:
                raise CacheExportError(
                    f"the cache cannot be written: {error}", where=self.target.label, fix=error.fix
                ) from error
            self._around.tracker.warn(f"cache {self.target.label} was not written: {error}")
        except BaseException as error:
            vertex.failed(str(error))
            raise
        else:
            vertex.done()

    def close(self) -> None:
        """Give up what was not sent."""
        self._pool.shutdown(cancel_futures=True)
        self._goal.release()

    def _wanted(self, solved: Solved) -> Iterable[SolvedStep]:
        return (step for step in solved.steps if step.final or self.target.mode == "max")

    def _send(self, layer: StoredLayer) -> Future[Descriptor]:
        """Begin, unless it was begun; the result is the blob that the cache has it in."""
        with self._lock:
            future = self._sent.get(layer.descriptor.digest)
            if future is None:
                future = self._pool.submit(self._deliver, layer)
                self._sent[layer.descriptor.digest] = future
            return future

    def _deliver(self, layer: StoredLayer) -> Descriptor:
        blob, blobs = self._packed(layer), self._around.store.blobs
        near = self._around.near(blob.digest)
        self._goal.send(blob, lambda: blobs.open(blob.digest), near=near)
        return blob

    def _packed(self, layer: StoredLayer) -> Descriptor:
        """The layer in the form that is wanted: what is compressed stays so, unless forced."""
        now = layer_compression(layer.descriptor.media_type)
        wanted = self.target.compression or "zstd"
        if wanted == now or not (now == "none" or self.target.force):
            return layer.descriptor
        from images.layers.convert import convert_layer

        return convert_layer(
            layer.descriptor,
            layer.diff_id,
            self._around.store.blobs,
            compression=NAMES[wanted],
            level=self.target.level,
        ).descriptor

    def _as_sent(self, layer: StoredLayer) -> StoredLayer:
        """The layer as the cache has it, once it is there."""
        # Equal layers of several steps are one blob, and each has its own date.
        return StoredLayer(layer.diff_id, self._send(layer).result(), layer.created)

    def _index(self, finished: Sequence[Solved], vertex: Vertex) -> CacheIndex:
        now = int(self._around.tracker.now())
        bases = frozenset[Digest]().union(*(solved.bases for solved in finished))
        found: dict[tuple[bytes, ...], CacheRecord] = {}
        for solved in finished:
            for step in self._wanted(solved):
                layers = tuple(
                    layer if layer.descriptor.digest in bases else self._as_sent(layer)
                    for layer in step.layers
                )
                found[step.keys] = CacheRecord(step.keys, layers, step.description, now)
        mounts = tuple(self._mounts(finished, now)) if self.target.mounts else ()
        vertex.output(1, f"{len(found)} steps, {len(self._sent)} layers\n".encode())
        return CacheIndex(tuple(found.values()), mounts, bases)

    def _mounts(self, finished: Sequence[Solved], now: int) -> Iterable[CachedMount]:
        """Cache mounts of builds that may have changed them; others stay as the cache has them."""
        store = self._around.store
        changed = {name for solved in finished if solved.executed for name in solved.mounts}
        for name in sorted(changed):
            try:
                layer = pack_mount(
                    state_directory(store), name, store.blobs, created=timestamp(now)
                )
            except BuildInputError as error:
                self._around.tracker.warn(f"{error}; the cache keeps what it has of it")
                continue
            if layer is not None:
                yield CachedMount(name, self._as_sent(layer), now)

    def _write(self, index: CacheIndex, vertex: Vertex) -> None:
        now = int(self._around.tracker.now())

        def change(old: CacheIndex) -> CacheIndex:
            if self.target.reset:
                return index
            return merge(index, old, self._around.bounds, now=now)

        manifest = self._goal.publish(change)
        vertex.output(1, f"writing cache manifest {manifest.digest}\n".encode())
