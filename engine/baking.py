"""Several builds as one: they run at the same time, and one may stand on another's result.

Each is an order of its own, with a line of its own in the history. Equal steps of several are done
by whoever comes first, because the builder locks them by key. The first that fails stops the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Final

from builder.contexts import TargetContext, stored_image
from builder.errors import first_cause
from builder.progress.tracker import Tracker
from builder.runner import Cancellation
from engine.bake.errors import BakeValueError
from engine.builds.pipeline import fulfil
from records import replace

if TYPE_CHECKING:
    from builder.progress.events import ProgressSink
    from engine.builds.building import Yard
    from engine.builds.order import BuildOrder, BuildOutcome

SIMULTANEOUS: Final = 16
"""Most targets that are built at the same time; each has threads of its own for its stages."""
WAKE_SECONDS: Final = 0.2
"""How often the waiting main thread looks up, so that an interrupt is never missed."""

Fulfil = Callable[..., "BuildOutcome"]


def bake(
    orders: Mapping[str, BuildOrder],
    yard: Yard,
    progress: ProgressSink,
    *,
    tracker: Tracker | None = None,
    fulfilling: Fulfil = fulfil,
) -> dict[str, BuildOutcome]:
    """Build all targets; ``progress`` is closed at the end, however it ends.

    A named context that is another target (``TargetContext``) becomes its result. A lease covers
    everything until all are done.

    Args:
        orders: by the target's name.
        yard: as for one build.
        progress: shows all of them; steps are labelled with their target.
        tracker: of the same display, where something was shown before.
        fulfilling: what builds one order; another one in tests.

    Raises:
        BakeValueError: a context is a target that is not among the orders, or leads back.
        BuildError, DockerfileError, ImagesError, TrustError: what the first target to fail failed
            with; a note names the target.
    """
    try:
        waiting = {name: _needs(order) for name, order in orders.items()}
        _check_order(waiting)
        with yard.store.lease("bake"):
            return _Baker(orders, waiting, yard, tracker or Tracker(progress), fulfilling).run()
    finally:
        progress.close()


def _needs(order: BuildOrder) -> frozenset[str]:
    contexts = order.request.contexts.values()
    return frozenset(context.target for context in contexts if isinstance(context, TargetContext))


def _check_order(waiting: Mapping[str, frozenset[str]]) -> None:
    """Every target is there, and none needs itself."""
    done: set[str] = set()
    left = dict(waiting)
    while left:
        ready = [name for name, needs in left.items() if needs <= done]
        if not ready:
            name, needs = min(left.items())
            unknown = sorted(needs - waiting.keys())
            what = f"there is no target {unknown[0]}" if unknown else "its contexts lead back to it"
            raise BakeValueError(f"{name}: {what}")
        done.update(ready)
        for name in ready:
            del left[name]


def _judged(order: BuildOrder, yard: Yard) -> Yard:
    """The yard under the order's own rules, where it has some."""
    if not order.policy:
        return yard
    from pathlib import Path

    return replace(yard, access=replace(yard.access, policy_file=Path(order.policy)))


class _Baker:
    """Runs each order in a thread as soon as what it needs is there."""

    def __init__(
        self,
        orders: Mapping[str, BuildOrder],
        waiting: Mapping[str, frozenset[str]],
        yard: Yard,
        tracker: Tracker,
        fulfilling: Fulfil,
    ) -> None:
        self._orders = orders
        self._waiting = dict(waiting)
        self._yard = yard
        self._tracker = tracker
        self._fulfil = fulfilling
        self._cancellation = Cancellation()
        self._outcomes: dict[str, BuildOutcome] = {}
        self._running: dict[Future[BuildOutcome], str] = {}
        self._threads: list[threading.Thread] = []

    def run(self) -> dict[str, BuildOutcome]:
        failed: list[tuple[str, BaseException]] = []
        try:
            while self._waiting or self._running:
                if not failed:
                    self._start_ready()
                if not self._running:
                    break
                failed += self._collect()
        except BaseException:
            self._cancellation.cancel()
            raise
        finally:
            for thread in self._threads:
                thread.join()
        if failed:
            name, error = first_cause(failed)
            error.add_note(f"while building the target {name}")
            raise error
        return {name: self._outcomes[name] for name in self._orders}

    def _start_ready(self) -> None:
        for name, needs in list(self._waiting.items()):
            if len(self._running) >= SIMULTANEOUS:
                return
            if needs <= self._outcomes.keys():
                del self._waiting[name]
                self._start(name)

    def _start(self, name: str) -> None:
        future: Future[BuildOutcome] = Future()
        order = self._linked(self._orders[name])
        yard = _judged(order, self._yard)
        tracker = self._tracker.labelled(name)

        def build() -> None:
            try:
                future.set_result(
                    self._fulfil(order, yard, tracker, cancellation=self._cancellation)
                )
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for all
                self._cancellation.cancel()
                future.set_exception(error)

        thread = threading.Thread(target=build, name=f"bake-{name}", daemon=True)
        self._running[future] = name
        self._threads.append(thread)
        thread.start()

    def _linked(self, order: BuildOrder) -> BuildOrder:
        """The order with results in place of the targets that its contexts name."""
        contexts = {
            key: stored_image(context.target.lower(), self._outcomes[context.target].root)
            if isinstance(context, TargetContext)
            else context
            for key, context in order.request.contexts.items()
        }
        if contexts == order.request.contexts:
            return order
        return replace(order, request=replace(order.request, contexts=contexts))

    def _collect(self) -> list[tuple[str, BaseException]]:
        """Wait until some are done; what failed, with its target."""
        done = wait(self._running, timeout=WAKE_SECONDS, return_when=FIRST_COMPLETED).done
        failed = []
        for future in done:
            name = self._running.pop(future)
            error = future.exception()
            if error is None:
                self._outcomes[name] = future.result()
            else:
                failed.append((name, error))
        return failed
