"""A cache being filled: layers go out as soon as they are known, the index last.

When all layers are there, the index of this build is merged with what the tag has by then and
replaces it in one step, so a process that is killed leaves the old cache whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from builder.dates import timestamp
from builder.errors import BuildError, BuildInputError
from builder.remote.index import CachedMount, CacheIndex, CacheRecord
from builder.remote.merging import Bounds, merge
from builder.solver.records import StoredLayer
from builder.storage import state_directory
from engine.builds.remote_cache.sender import Sender
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import layer_compression
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from builder.progress.tracker import Tracker, Vertex
    from builder.solver.elsewhere import Offer, Solved, SolvedStep
    from engine.builds.remote_cache.options import CacheTarget
    from engine.builds.remote_cache.places import Goal
    from engine.builds.remote_cache.sender import Report
    from images.client.progress import LayerState
    from images.descriptor import Descriptor
    from images.reference import Reference
    from images.store import ImageStore

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

    def __init__(
        self,
        target: CacheTarget,
        goal: Goal,
        around: Surroundings,
        *,
        stop: Callable[[ImagesError], None],
    ) -> None:
        """``stop`` ends the build, where a cache that cannot be written is an error."""
        self.target = target
        self._goal = goal
        self._around = around
        self._stop = stop
        self._sender = Sender(
            f"cache {target.label}", self._deliver, around.tracker, failed=self._failed
        )

    def offer(self, offer: Offer) -> None:
        """Begin to send a layer, if this cache is to have it."""
        wanted = offer.final or self.target.mode == "max"
        if wanted and offer.portable and offer.base is None:
            self._sender.send(offer.layer, offer.step)

    def solved(self, solved: Solved) -> None:
        """Begin with what is not in the store, and was not offered."""
        for step in self._wanted(solved):
            for layer in step.layers:
                if layer.descriptor.digest not in solved.bases:
                    self._sender.send(layer, step.description)

    def finish(
        self, finished: Sequence[Solved], mounts: Sequence[CachedMount] | None = None
    ) -> None:
        """Send the rest, wait for all of it, and write the index.

        ``mounts`` are those of this cache that were packed elsewhere, in place of this machine's.

        Raises:
            CacheExportError: it cannot be done, and that is not to be ignored.
        """
        vertex = self._around.tracker.start(f"exporting cache to {self.target.label}")
        try:
            index = self._index(finished, mounts, vertex)
            self._write(index, vertex)
        except ImagesError as error:
            vertex.failed(str(error))
            if not self.target.ignore_error:
                raise self._error(error) from error
            notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
            self._around.tracker.warn(f"cache {self.target.label} was not written: {error}{notes}")
        except BaseException as error:
            vertex.failed(str(error))
            raise
        else:
            vertex.done()

    def close(self) -> None:
        """Give up what was not sent."""
        self._sender.close()
        self._goal.release()

    def _failed(self, error: ImagesError) -> None:
        if not self.target.ignore_error:
            failure = self._error(error)
            failure.__cause__ = error
            self._stop(failure)

    def _error(self, error: ImagesError) -> CacheExportError:
        made = CacheExportError(
            f"the cache cannot be written: {error}", where=self.target.label, fix=error.fix
        )
        for note in getattr(error, "__notes__", ()):
            made.add_note(note)
        return made

    def _wanted(self, solved: Solved) -> Iterable[SolvedStep]:
        return (step for step in solved.steps if step.final or self.target.mode == "max")

    def _deliver(self, layer: StoredLayer, report: Report) -> tuple[Descriptor, LayerState]:
        blob, blobs = self._packed(layer), self._around.store.blobs
        near = self._around.near(blob.digest)
        state = self._goal.send(blob, lambda: blobs.open(blob.digest), near=near, report=report)
        return blob, state

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

    def _as_sent(self, layer: StoredLayer, step: str) -> StoredLayer:
        """The layer as the cache has it, once it is there."""
        # Equal layers of several steps are one blob, and each has its own date.
        return StoredLayer(layer.diff_id, self._sender.send(layer, step).result(), layer.created)

    def _index(
        self, finished: Sequence[Solved], mounts: Sequence[CachedMount] | None, vertex: Vertex
    ) -> CacheIndex:
        now = int(self._around.tracker.now())
        bases = frozenset[Digest]().union(*(solved.bases for solved in finished))
        found: dict[tuple[bytes, ...], CacheRecord] = {}
        for solved in finished:
            for step in self._wanted(solved):
                layers = tuple(
                    layer
                    if layer.descriptor.digest in bases
                    else self._as_sent(layer, step.description)
                    for layer in step.layers
                )
                found[step.keys] = CacheRecord(step.keys, layers, step.description, now)
        around = self._around
        if mounts is None:
            wanted = self.target.mounts
            mounts = packed_mounts(finished, around.store, around.tracker) if wanted else ()
        sent = tuple(
            CachedMount(it.id, self._as_sent(it.layer, f"cache mount {it.id}"), it.used)
            for it in mounts
        )
        vertex.output(1, f"{len(found)} steps, {self._sender.begun} layers\n".encode())
        return CacheIndex(tuple(found.values()), sent, bases)

    def _write(self, index: CacheIndex, vertex: Vertex) -> None:
        now = int(self._around.tracker.now())

        def change(old: CacheIndex) -> CacheIndex:
            if self.target.reset:
                return index
            return merge(index, old, self._around.bounds, now=now)

        manifest = self._goal.publish(change)
        vertex.output(1, f"writing cache manifest {manifest.digest}\n".encode())


def packed_mounts(
    finished: Sequence[Solved], store: ImageStore, tracker: Tracker
) -> tuple[CachedMount, ...]:
    """Cache mounts of builds that may have changed them; others stay as a cache has them."""
    from builder.remote.packing import pack_mount

    now = int(tracker.now())
    changed = {name for solved in finished if solved.executed for name in solved.mounts}
    found = []
    for name in sorted(changed):
        try:
            layer = pack_mount(state_directory(store), name, store.blobs, created=timestamp(now))
        except BuildInputError as error:
            tracker.warn(f"{error}; the cache keeps what it has of it")
            continue
        if layer is not None:
            found.append(CachedMount(name, layer, now))
    return tuple(found)
