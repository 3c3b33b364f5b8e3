"""The way of an order: sources are brought in, images built, combined, and delivered.

Each station has a module of its own that is imported when an order has work for it, so a build that
asks for nothing special costs nothing special.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

from builder.progress.tracker import Tracker
from engine.builds import building
from engine.builds.history.recorder import Recorder
from engine.builds.order import BuildOutcome
from records import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from builder.progress.events import ProgressSink
    from builder.runner import Cancellation, FailureInspector
    from engine.builds.building import Yard
    from engine.builds.history.document import Document
    from engine.builds.lock import BuildLock
    from engine.builds.order import BuildOrder


def carry_out(
    order: BuildOrder,
    yard: Yard,
    progress: ProgressSink,
    *,
    cancellation: Cancellation | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
    on_record: Callable[[Document], None] | None = None,
) -> BuildOutcome:
    """Build what was ordered and show it; ``progress`` is closed at the end, however it ends.

    After that ``on_record`` gets what was written down of the build.

    Raises:
        BuildError, DockerfileError, ImagesError, TrustError: as ``fulfil``.
    """
    records: list[Document] = []
    try:
        return fulfil(
            order,
            yard,
            Tracker(progress),
            cancellation=cancellation,
            on_failure=on_failure,
            lock=lock,
            on_record=records.append,
        )
    finally:
        progress.close()
        for record in records:
            if on_record is not None:
                on_record(record)


def fulfil(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
    on_record: Callable[[Document], None] | None = None,
) -> BuildOutcome:
    """Build what was ordered, shown by a tracker that several orders may share.

    ``lock`` is written when all of it is done. However it ends, it is on record then.

    Raises:
        BuildError, DockerfileError, ImagesError, TrustError: as ``building.build``.
    """
    recorder = Recorder.of(order, yard.store.directory, tracker.now, os.environ)
    try:
        seen = tracker.seen_by(recorder)
        with (
            sourced(order, yard, seen, cancellation=cancellation, lock=lock) as order,
            _caches(order, yard, seen) as cached,
        ):
            outcome = _by_stations(
                order,
                cached,
                seen,
                cancellation=cancellation,
                on_failure=on_failure,
                lock=lock,
            )
    except BaseException as error:
        recorder.failed(error)
        raise
    else:
        recorder.finished(outcome)
    finally:
        if on_record is not None:
            on_record(recorder.document)
    warned = tuple((message, where) for message, where in recorder.document["warnings"])
    return replace(outcome, ref=recorder.ref, warnings=warned)


def sourced(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    lock: BuildLock | None = None,
) -> AbstractContextManager[BuildOrder]:
    """The order with all its contexts on this machine for the block; most have them there already.

    Raises:
        BuildError, ImagesError: as ``engine.builds.sources.station.bring_in``.
    """
    if order.keys:
        return _with_keys(order, yard, tracker, cancellation=cancellation, lock=lock)
    if order.sources is None:
        return nullcontext(order)
    from engine.builds.sources.station import sourced_order

    judge = building.judge_of(yard, lock)
    return sourced_order(order, yard.store, tracker, judge=judge, cancellation=cancellation)


@contextmanager
def _with_keys(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None,
    lock: BuildLock | None,
) -> Iterator[BuildOrder]:
    """The same with an agent for the keys that were named, which a context may need already."""
    from engine.builds.key_agent import with_agents

    with (
        with_agents(order) as order,
        sourced(order, yard, tracker, cancellation=cancellation, lock=lock) as order,
    ):
        yield order


def _caches(order: BuildOrder, yard: Yard, tracker: Tracker) -> AbstractContextManager[Yard]:
    """The yard with the caches elsewhere that an order names, and with what pushes ahead."""
    if not (order.cache_from or order.cache_to or any(it.push for it in order.outputs)):
        return nullcontext(yard)
    if yard.elsewhere is not None:
        from engine.remote.caches import client_caches

        return client_caches(order, yard, tracker)
    from engine.builds.remote_cache.station import remote_caches

    return remote_caches(order, yard, tracker)


def _by_stations(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None,
    on_failure: FailureInspector | None,
    lock: BuildLock | None,
) -> BuildOutcome:
    """The stations themselves; raises as ``fulfil``."""
    if order.plain:
        image = building.build(
            order.request,
            yard,
            tracker,
            cancellation=cancellation,
            on_failure=on_failure,
            lock=lock,
        )
        named = image.tags if order.request.register else ()
        outcome = BuildOutcome(root=image.descriptor, images=(image,), named=named)
    else:
        from engine.builds.stations import pass_stations

        outcome = pass_stations(
            order, yard, tracker, cancellation=cancellation, on_failure=on_failure, lock=lock
        )
    if lock is not None:
        lock.write()
    return outcome
