"""One order's remote caches, as its builds see them: steps looked up, layers brought in when they
are opened, results sent out.

A layer that was fetched has the digest that its record says. That its content has the diff id shows
where it is unpacked. Either may fail in the middle of a build; then the cache that is at fault is
not asked any more, and the build goes on from where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from builder.errors import BuildCancelledError, StepFailedError
from builder.runner import Cancellation
from builder.solver.records import StepRecords
from builder.storage import CacheTable
from engine.builds.remote_cache.in_registry import RegistryCache
from engine.builds.remote_cache.lazy_store import LazyStore
from engine.builds.resolving import PullingResolver
from images.arriving import Arrival
from images.blobs import BlobStore
from images.errors import ImagesError
from images.futures import Future, Pool
from records import Record

if TYPE_CHECKING:
    from pathlib import Path

    from builder.progress.tracker import Tracker
    from builder.solver.elsewhere import Offer, Solved
    from builder.solver.records import StoredLayer
    from engine.access import Access
    from engine.builds.lock import BuildLock
    from engine.builds.remote_cache.ahead import PushAhead
    from engine.builds.remote_cache.exports import Export
    from engine.builds.remote_cache.imports import Import, Imports
    from engine.builds.remote_cache.line import Line
    from engine.builds.remote_cache.places import Origin
    from images.client.progress import ProgressSink
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference
    from images.store import ImageStore

FETCHES: Final = 6
"""Layers of a finished image that are brought in at the same time."""
_T = TypeVar("_T")


class Wanted(Record):
    """What becomes of the images: ``store`` means that their content is needed here.

    ``pushes`` are the repositories they are pushed to as they are, which may have the layers.
    """

    store: bool = True
    pushes: tuple[Reference, ...] = ()


class _Flight(Record):
    """A blob on its way here."""

    landed: Future[bool]
    arrival: Arrival


class RemoteCaches:
    """An ``Elsewhere``; safe to use from several builds and threads at once."""

    def __init__(
        self, store: ImageStore, line: Line, imports: Imports, tracker: Tracker, wanted: Wanted
    ) -> None:
        self.store = LazyStore(store, self._bring_blob, self._follow_blob)
        self.exporting: list[Export] = []
        self.pushing: list[PushAhead] = []
        self.collecting = False
        """Whether somebody else fills a cache with what was ``solved``."""
        self._ended = threading.Event()
        self.outgoing = LazyStore(store, self._bring_blob, ended=self._ended)
        """The store, as the background reads it: until ``close``."""
        self._stopping: set[Cancellation] = set()
        self._stopped: ImagesError | None = None
        self.line = line
        self._imports = imports
        self._tracker = tracker
        self._wanted = wanted
        self._blobs = BlobStore(store.directory)
        self._lock = threading.Lock()
        self._flights: dict[Digest, _Flight] = {}
        self._fetching: list[threading.Thread] = []
        self._bases: dict[Digest, tuple[Origin, Descriptor]] = {}
        self._fetched: dict[Digest, Import] = {}
        self._used: dict[bytes, tuple[StoredLayer, ...]] = {}
        self._finished: list[Solved] = []

    # what the solver asks

    @property
    def exports(self) -> bool:
        """As ``Elsewhere.exports``."""
        return bool(self.exporting) or self.collecting

    @property
    def finished(self) -> tuple[Solved, ...]:
        """What the builds came to know."""
        return tuple(self._finished)

    def find(self, key: bytes) -> tuple[StoredLayer, ...] | None:
        """As ``Elsewhere.find``.

        Raises:
            CacheImportError: a cache that must be there is not.
        """
        for _, layers in self._imports.find(key):
            blobs = [layer.descriptor.digest for layer in layers]
            if all(self._blobs.has(blob) or self.has(blob) for blob in blobs):
                with self._lock:
                    self._used[key] = layers
                return layers
        return None

    def has(self, digest: Digest) -> bool:
        """As ``Elsewhere.has``."""
        return digest in self._bases or any(self._imports.origins(digest))

    def offer(self, offer: Offer) -> None:
        """As ``Elsewhere.offer``; what is elsewhere itself need not go anywhere before the end."""
        if self._blobs.has(offer.layer.descriptor.digest):
            for export in self.exporting:
                export.offer(offer)
            for push in self.pushing:
                push.offer(offer)

    def solved(self, solved: Solved) -> None:
        """As ``Elsewhere.solved``."""
        with self._lock:
            self._finished.append(solved)
        for export in self.exporting:
            export.solved(solved)

    def bring(self, layers: Sequence[StoredLayer]) -> bool:
        """As ``Elsewhere.bring``: what is pushed goes from one repository to the other if it can,
        and what nobody needs stays where it is.
        """
        missing = [layer.descriptor for layer in layers if self._is_missing(layer)]
        if not missing:
            return True
        if self._wanted.store:
            self._at_once(missing, self._bring_here)
        else:
            for target in self._wanted.pushes:
                self._at_once(missing, partial(self._hand_over, target))
        return not any(self._is_missing(layer) for layer in layers)

    def fill_mount(self, mount: str, directory: Path) -> bool:
        """As ``Elsewhere.fill_mount``."""
        from builder.remote.packing import unpack_mount

        for one, found in self._imports.mount(mount):
            vertex = self._tracker.start(f"restoring cache mount {mount} from {one.cache.label}")
            try:
                unpack_mount(found.layer, self.store.blobs, directory)
            except ImagesError as error:
                vertex.failed(str(error))
                self._give_up(one, error)
                _empty(directory)
            else:
                vertex.done()
                return True
        return False

    # what the build's surroundings ask

    def learn(self, reference: Reference, layers: Sequence[Descriptor]) -> None:
        """Base layers can be had from a repository; they are not fetched before they are read."""
        origin = RegistryCache(self.line, reference)
        with self._lock:
            self._bases.update((layer.digest, (origin, layer)) for layer in layers)

    def resolver(
        self,
        access: Access,
        *,
        progress: ProgressSink,
        always: bool,
        lock: BuildLock | None,
    ) -> PullingResolver:
        """Where base images come from: without their layers, if steps can be looked up at all."""
        if not any(True for _ in self._imports):
            return PullingResolver(self.store, access, progress=progress, always=always, lock=lock)
        from engine.builds.remote_cache.lazy_bases import LazyResolver

        return LazyResolver(
            self.store,
            access,
            progress=progress,
            always=always,
            lock=lock,
            line=self.line,
            learn=self.learn,
        )

    def near(self, digest: Digest) -> Reference | None:
        """The repository that a blob can be had from, if one is known."""
        for origin, _, _ in self._origins(digest):
            if origin.reference is not None:
                return origin.reference
        return None

    def attempt(
        self, build: Callable[[Cancellation], _T], cancellation: Cancellation | None = None
    ) -> _T:
        """Build, and once more without a cache that turned out to be broken.

        Raises:
            ImagesError, KeyboardInterrupt: as ``build``.
        """
        outer = cancellation or Cancellation()
        while True:
            trusted = [one for one in self._imports if not one.broken]
            own = self._stoppable()
            undo = outer.subscribe(own.cancel)
            try:
                return build(own)
            except (StepFailedError, BuildCancelledError) as error:
                outer.cancel()
                if self._stopped is not None and isinstance(error, BuildCancelledError):
                    raise self._stopped from error
                raise
            except ImagesError:
                self._check_fetched()
                if outer.cancelled or not any(one.broken for one in trusted):
                    outer.cancel()
                    raise
            finally:
                undo()
                with self._lock:
                    self._stopping.discard(own)

    def stop(self, error: ImagesError) -> None:
        """End the builds, whose results cannot get where they have to; the first error counts."""
        with self._lock:
            if self._stopped is None:
                self._stopped = error
            running = list(self._stopping)
        for cancellation in running:
            cancellation.cancel()

    def _stoppable(self) -> Cancellation:
        """What stops one build.

        Raises:
            ImagesError: it need not begin.
        """
        made = Cancellation()
        with self._lock:
            if self._stopped is not None:
                raise self._stopped
            self._stopping.add(made)
        return made

    def settle(self, cancellation: Cancellation | None) -> None:
        """Wait for what is being pushed ahead, so that it is not sent twice.

        Raises:
            BuildCancelledError: ``cancellation`` fired before.
        """
        for push in self.pushing:
            push.settle(cancellation)

    def finish(self) -> None:
        """Write the caches, and remember what was brought in as if it had been made here.

        Raises:
            CacheExportError: one cannot be written, and that is not to be ignored.
        """
        self._remember()
        for export in self.exporting:
            export.finish(self._finished)

    def close(self) -> None:
        """End what is under way."""
        self._ended.set()
        with ExitStack() as stack:
            stack.callback(self._land)
            stack.callback(self._imports.close)
            for export in self.exporting:
                stack.callback(export.close)
            for push in self.pushing:
                stack.callback(push.close)
            stack.callback(self.line.close)

    # content

    def _is_missing(self, layer: StoredLayer) -> bool:
        return not self._blobs.has(layer.descriptor.digest)

    def _at_once(self, blobs: Sequence[Descriptor], work: Callable[[Descriptor], object]) -> None:
        """Do something with several blobs at the same time; the first failure is raised."""
        with Pool(min(FETCHES, len(blobs)), "cache-fetch") as pool:
            for done in [pool.submit(work, blob) for blob in blobs]:
                done.result()

    def _bring_here(self, blob: Descriptor) -> None:
        self.store.blobs.open(blob.digest).close()

    def _hand_over(self, target: Reference, blob: Descriptor) -> None:
        """Let a registry have a blob: by a mount, or through here."""
        goal = RegistryCache(self.line, target)
        near = self.near(blob.digest)
        goal.send(blob, lambda: self.store.blobs.open(blob.digest), near=near)

    def _bring_blob(self, digest: Digest) -> bool:
        """Fetch a blob once, whoever asks how often; False when nobody knows it."""
        flight, mine = self._board(digest)
        if mine:
            self._fly(digest, flight)
        return flight.landed.result()

    def _follow_blob(self, digest: Digest) -> BinaryIO | None:
        """What arrives of a blob that is being fetched from now on, if not before."""
        flight, mine = self._board(digest)
        if mine:
            thread = threading.Thread(
                target=self._fly, args=(digest, flight), name="cache-fetch", daemon=True
            )
            with self._lock:
                self._fetching.append(thread)
            thread.start()
        return flight.arrival.follow()

    def _board(self, digest: Digest) -> tuple[_Flight, bool]:
        """The flight that brings a blob, and whether it is the caller's to begin."""
        with self._lock:
            flight = self._flights.get(digest)
            if flight is not None:
                return flight, False
            flight = self._flights[digest] = _Flight(Future(), Arrival(self.store.directory))
            return flight, True

    def _fly(self, digest: Digest, flight: _Flight) -> None:
        try:
            found, failure = self._fetch(digest, flight.arrival), None
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the blob
            found, failure = False, error
        # It may be asked for again, when it has been collected or its cache was at fault.
        with self._lock:
            del self._flights[digest]
        if failure is None:
            flight.landed.set_result(found)
        else:
            flight.landed.set_exception(failure)
        flight.arrival.finish()

    def _land(self) -> None:
        """Wait for what is being fetched; closing the line ends that soon."""
        for thread in self._fetching:
            thread.join()

    def _fetch(self, digest: Digest, arrival: Arrival) -> bool:
        """Fetch from the first that has it.

        Raises:
            ImagesError: everybody who knows it failed; caches that did are given up.
        """
        failure: ImagesError | None = None
        for origin, blob, source in self._origins(digest):
            vertex = self._tracker.start(f"pulling {digest} {_size(blob.size)} from {origin.label}")
            try:
                origin.fetch(blob, arrival)
            except ImagesError as error:
                vertex.failed(str(error))
                failure = error
                if source is not None:
                    self._give_up(source, error)
            except BaseException as error:
                vertex.failed(str(error))
                raise
            else:
                vertex.done()
                if source is not None:
                    with self._lock:
                        self._fetched[digest] = source
                return True
        if failure is not None:
            raise failure
        return False

    def _origins(self, digest: Digest) -> list[tuple[Origin, Descriptor, Import | None]]:
        """Who can be asked for a blob; the image's own repository first for a base's layers."""
        found: list[tuple[Origin, Descriptor, Import | None]] = []
        base = self._bases.get(digest)
        if base is not None:
            found.append((*base, None))
        for one, layer in self._imports.origins(digest):
            found.append((one.cache, layer.descriptor, one))
        return found

    # faults

    def _check_fetched(self) -> None:
        """Compare all that came from caches with its diff ids; who lied is given up."""
        from builder.remote.packing import check_layer

        for layer in {it for layers in self._used.values() for it in layers}:
            source = self._fetched.get(layer.descriptor.digest)
            if source is not None and not source.broken:
                try:
                    check_layer(layer, self._blobs)
                except ImagesError as fault:
                    self._give_up(source, fault)

    def _give_up(self, source: Import, error: ImagesError) -> None:
        with self._lock:
            first, source.broken = not source.broken, True
        if first:
            self._tracker.warn(f"cache {source.cache.label} is not used any more: {error}")

    def _remember(self) -> None:
        """Keep what was of use and is here, and the steps below it: the next build may need no
        cache.
        """
        if not self._used:
            return
        records = StepRecords(CacheTable(self.store), self._blobs)
        chains = {
            layers[:end] for layers in self._used.values() for end in range(1, len(layers) + 1)
        }
        here = {layers for layers in chains if not any(self._is_missing(it) for it in layers)}
        for one in self._imports:
            for record in one.index.records:
                if record.layers in here:
                    for key in record.keys:
                        records.save(key, record.layers, record.description)


def _size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _empty(directory: Path) -> None:
    """Remove what a failed restore left."""
    from images.trees import remove_tree

    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink()
