"""Layers on their way to one place while the build goes on: a few threads beside it, a few layers
at a time, each read in pieces, so memory stays what it is however large they are.

A blob that nothing names is nobody's: what is sent for a build that fails costs the place a
collection, and the next build finds it there. The first failure ends the sending; whoever needs a
layer there learns of it from ``send``'s future.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from builder.errors import BuildCancelledError
from images.errors import ImagesError
from images.futures import CancelledError, Future, Pool, wait

if TYPE_CHECKING:
    from builder.progress.tracker import Tracker, Vertex
    from builder.runner import Cancellation
    from builder.solver.records import StoredLayer
    from images.client.progress import LayerState
    from images.descriptor import Descriptor
    from images.digest import Digest

UPLOADS: Final = 4
"""Layers on their way at the same time."""
TOLD_SECONDS: Final = 5.0
"""How often a layer that takes long says how far it is."""
WAKE_SECONDS: Final = 0.2
"""How often a waiting main thread looks up, so that an interrupt is never missed."""

Report: TypeAlias = Callable[[int], None]
"""Hears the bytes that are there so far."""
Deliver: TypeAlias = "Callable[[StoredLayer, Report], tuple[Descriptor, LayerState]]"
"""Brings a layer to the place; returns the blob that it is there, and how it came."""


class Sender:
    """One place; ``send`` may be called from any thread."""

    def __init__(
        self,
        label: str,
        deliver: Deliver,
        tracker: Tracker,
        *,
        failed: Callable[[ImagesError], None],
    ) -> None:
        """``failed`` is told of the first failure, from a thread of the sender's own."""
        self._label = label
        self._deliver = deliver
        self._tracker = tracker
        self._failed = failed
        self._lock = threading.Lock()
        self._pool = Pool(UPLOADS, "send")
        self._sent: dict[Digest, Future[Descriptor]] = {}
        self._failure: ImagesError | None = None
        self.arrived = 0
        """How many layers are there."""

    def send(self, layer: StoredLayer, step: str) -> Future[Descriptor]:
        """Begin with a step's layer, unless it was begun; the result is the blob that is there."""
        with self._lock:
            future = self._sent.get(layer.descriptor.digest)
            if future is None:
                future = self._pool.submit(self._work, layer, step)
                self._sent[layer.descriptor.digest] = future
            return future

    @property
    def begun(self) -> int:
        """How many layers were asked for."""
        return len(self._sent)

    def settle(self, cancellation: Cancellation | None = None) -> None:
        """Wait until nothing is under way; open to signals in a main thread.

        Raises:
            BuildCancelledError: ``cancellation`` fired before.
        """
        while not wait(list(self._sent.values()), timeout=WAKE_SECONDS):
            if cancellation is not None and cancellation.cancelled:
                raise BuildCancelledError("the build was cancelled")

    def close(self) -> None:
        """Begin nothing more, and wait for what ends by itself or was made to end."""
        self._pool.close()

    def _work(self, layer: StoredLayer, step: str) -> Descriptor:
        if self._failure is not None:
            raise self._failure
        vertex = self._tracker.start(f"sending layer of {step} to {self._label}")
        try:
            blob, state = self._deliver(layer, _Meter(vertex, layer.descriptor.size))
        except ImagesError as error:
            vertex.failed(str(error))
            self._fail(error, step)
            raise
        except CancelledError:
            vertex.failed("the build ended before", cancelled=True)
            raise
        except BaseException as error:
            vertex.failed(str(error))
            raise
        vertex.output(1, f"{blob.digest} {blob.size} bytes: {state.value}\n".encode())
        vertex.done()
        with self._lock:
            self.arrived += 1
        return blob

    def _fail(self, error: ImagesError, step: str) -> None:
        # Several may fail at the same time, and any of them may be the one that is told.
        error.add_note(f"while the layer of {step} was sent to {self._label}")
        with self._lock:
            first = self._failure is None
            if first:
                self._failure = error
        if first:
            self._failed(error)


class _Meter:
    """Says now and then how far a layer is."""

    def __init__(self, vertex: Vertex, size: int) -> None:
        self._vertex = vertex
        self._size = size
        self._told = time.monotonic()

    def __call__(self, current: int) -> None:
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            self._vertex.output(1, f"{current} of {self._size} bytes\n".encode())
