"""Images for several platforms, built at the same time, in the order that was asked for.

Each build has a thread and a plan of its own. Steps that are equal for several of them (stages of
the machine's own platform, copies on nothing) have equal keys and are done by whoever comes first.
The first build that fails stops the others.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final

from builder.errors import first_cause
from builder.runner import Cancellation
from builder.solver.common import CommonWork
from engine.builds import building
from engine.builds.delivery.annotations import MANIFEST, annotations_of
from records import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from builder.runner import FailureInspector
    from engine.builds.building import Yard
    from engine.builds.lock import BuildLock
    from engine.builds.order import BuildOrder
    from images.platform import Platform

WAKE_SECONDS: Final = 0.2
"""How often the waiting main thread looks up, so that an interrupt is never missed."""


def build_each(
    order: BuildOrder,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
) -> tuple[BuildResult, ...]:
    """The images of an order's platforms. None of them is named: the index is what gets a name.

    The caller holds a lease.

    Raises:
        BuildError, DockerfileError, ImagesError, TrustError: as ``building.build``; a note of the
            error names the platform.
        KeyboardInterrupt: after every running step was killed.
    """
    stop = cancellation or Cancellation()
    common = CommonWork(several=True)

    def build(platform: Platform) -> BuildResult:
        return building.build(
            request_for(order, platform),
            yard,
            tracker,
            cancellation=stop,
            common=common,
            on_failure=on_failure,
            lock=lock,
        )

    return _at_the_same_time(order.targets, build, stop)


def _at_the_same_time(
    platforms: tuple[Platform, ...],
    build: Callable[[Platform], BuildResult],
    stop: Cancellation,
) -> tuple[BuildResult, ...]:
    """The result of each build, when all have ended; the first failure stops the others."""
    futures: list[Future[BuildResult]] = [Future() for _ in platforms]
    failures: list[tuple[Platform, BaseException]] = []

    def work(platform: Platform, future: Future[BuildResult]) -> None:
        try:
            future.set_result(build(platform))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the images
            failures.append((platform, error))
            stop.cancel()
            future.set_exception(error)

    threads = [
        threading.Thread(target=work, args=pair, name=f"build-{pair[0]}", daemon=True)
        for pair in zip(platforms, futures, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        while wait(futures, timeout=WAKE_SECONDS).not_done:
            pass
    except BaseException:
        stop.cancel()
        raise
    finally:
        for thread in threads:
            thread.join()
    if failures:
        platform, error = first_cause(failures)
        error.add_note(f"while building for {platform}")
        raise error
    return tuple(future.result() for future in futures)


def request_for(order: BuildOrder, platform: Platform) -> BuildRequest:
    """What is asked of the builder for one of the platforms."""
    own = annotations_of(order.annotations, MANIFEST, platform)
    return replace(
        order.request,
        platform=platform,
        annotations={**order.request.annotations, **own},
        name_platform=True,
        register=False,
    )
