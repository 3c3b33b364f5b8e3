"""Pushing ahead: what an image's push will need goes to the repository while the build goes on.

The push itself comes after the build, finds these layers there, and sends what is missing; so
nothing rests on what happens here, manifests and names least of all. What a registry refuses, it
would refuse then as well: it ends the build at once. What may pass by itself is left to the push.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.builds.remote_cache.sender import Sender
from images.client.errors import (
    RegistryConnectionError,
    RegistryError,
    RegistryUnavailableError,
    TooManyRequestsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builder.runner import Cancellation
    from builder.solver.elsewhere import Offer
    from builder.solver.records import StoredLayer
    from engine.builds.delivery.outputs import Packing
    from engine.builds.order import BuildOrder
    from engine.builds.remote_cache.exports import Surroundings
    from engine.builds.remote_cache.in_registry import RegistryCache
    from engine.builds.remote_cache.sender import Report
    from images.client.progress import LayerState
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.errors import ImagesError
    from images.reference import Reference

_PASSING = (RegistryUnavailableError, TooManyRequestsError)


class PushAhead:
    """One repository that images are pushed to, in one form."""

    def __init__(
        self,
        goal: RegistryCache,
        packing: Packing,
        around: Surroundings,
        *,
        stop: Callable[[ImagesError], None],
    ) -> None:
        """``stop`` ends the build."""
        self._goal = goal
        self._packing = packing
        self._around = around
        self._stop = stop
        self._bases: dict[Digest, Reference] = {}
        self._sender = Sender(goal.label, self._deliver, around.tracker, failed=self._failed)

    def offer(self, offer: Offer) -> None:
        """Begin to send a layer of the image."""
        if not offer.final or offer.layer.descriptor.urls:
            return
        if offer.base is not None:
            self._bases[offer.layer.descriptor.digest] = offer.base
        self._sender.send(offer.layer, offer.step)

    def settle(self, cancellation: Cancellation | None) -> None:
        """Wait for what is under way, so that the push sends nothing twice; raises as
        ``Sender.settle``.
        """
        self._sender.settle(cancellation)

    def close(self) -> None:
        """Give up what was not sent."""
        self._sender.close()

    def _deliver(self, layer: StoredLayer, report: Report) -> tuple[Descriptor, LayerState]:
        from engine.builds.delivery.packing import packed_layer

        digest = layer.descriptor.digest
        base = self._bases.get(digest)
        around = self._around
        blob = packed_layer(layer, self._packing, around.store, around.tracker, own=base is None)
        near = base or around.near(digest) if blob.digest == digest else None
        blobs = around.store.blobs
        state = self._goal.send(blob, lambda: blobs.open(blob.digest), near=near, report=report)
        return blob, state

    def _failed(self, error: ImagesError) -> None:
        if isinstance(error, _PASSING):
            return
        broke = isinstance(error, RegistryConnectionError) and self._sender.arrived > 0
        if isinstance(error, RegistryError) and not broke:
            self._stop(error)


def destinations(order: BuildOrder) -> Iterable[tuple[Reference, Packing, bool]]:
    """The repositories of an order's pushes, each once for each form, and whether it is insecure.

    None where it is not known before the end what will be pushed: merged layers, and builds that
    have to come out the same twice.
    """
    from records import replace

    if order.squash or order.verify:
        return
    seen: set[tuple[str, Packing]] = set()
    for output in order.outputs:
        # Media types are the manifest's matter, and the blobs are the same.
        packing = replace(output.packing, docker_types=False)
        for name in (output.names or order.request.tags) if output.push else ():
            if (name.name, packing) not in seen:
                seen.add((name.name, packing))
                yield replace(name, tag=None), packing, output.insecure
