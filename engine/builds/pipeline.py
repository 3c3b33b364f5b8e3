"""The way of an order: sources are brought in, images built, combined, and delivered.

Each station has a module of its own that is imported when an order has work for it, so a build that
asks for nothing special costs nothing special.
"""

from __future__ import annotations

from engine.builds import building
from engine.builds.order import BuildOutcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.progress.events import ProgressSink
    from builder.runner import FailureInspector
    from engine.builds.building import Yard
    from engine.builds.lock import BuildLock
    from engine.builds.order import BuildOrder


def carry_out(
    order: BuildOrder,
    yard: Yard,
    progress: ProgressSink,
    *,
    on_failure: FailureInspector | None = None,
    lock: BuildLock | None = None,
) -> BuildOutcome:
    """Build what was ordered; ``lock`` is written when all of it is done.

    Raises:
        BuildError, DockerfileError, ImagesError, TrustError: as ``building.build``.
    """
    image = building.build(order.request, yard, progress, on_failure=on_failure, lock=lock)
    if lock is not None:
        lock.write()
    return BuildOutcome(root=image.descriptor, images=(image,))
