"""What all steps of one build share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dates import timestamp
from builder.errors import BuildCancelledError
from builder.runner import Cancellation, FailureInspector, RunStep, StepRunner
from records import Record, field

if TYPE_CHECKING:
    from builder.plan.model import Plan, Step
    from builder.progress.tracker import Tracker
    from builder.remote.sharing import Sharing
    from builder.solver.common import CommonWork
    from builder.solver.files import FilePlanner
    from builder.solver.identity import Identities
    from builder.solver.records import KeyValueStore, StepRecords
    from images.futures import Pool
    from images.platform import Platform
    from images.store import ImageStore


class SolveOptions(Record):
    """Choices that change how steps are executed, not what they mean."""

    host: Platform
    no_cache: bool = False
    compression: str = "gzip"
    rewrite_timestamps: bool = True
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, Path] = field(default_factory=dict)
    privileged: bool = True
    """Whether files can be given to any owner, so that a directory can stand for a layer."""
    on_failure: FailureInspector | None = None
    """Called for the first command that fails, after all others were stopped."""
    slot: tuple[str, ...] = ()
    """Names the place whose previous build explanations compare with."""


class Session(Record):
    """One build in progress. ``pool`` packs layers; ``common`` is what it shares with others."""

    plan: Plan
    store: ImageStore
    state: Path
    """Where the builder keeps locks and cache mounts."""
    runner: StepRunner
    files: FilePlanner
    identities: Identities
    records: StepRecords
    values: KeyValueStore
    tracker: Tracker
    cancellation: Cancellation
    options: SolveOptions
    clock: Callable[[], float]
    pool: Pool
    common: CommonWork
    sharing: Sharing | None = None
    """Caches elsewhere that are asked and told; None when there are none."""

    @property
    def locks(self) -> Path:
        """The directory of lock files."""
        return self.state / "locks"

    def created(self) -> str:
        """The date of a layer that is finished now."""
        epoch = self.plan.epoch
        return timestamp(self.clock() if epoch is None else epoch)

    def now_ns(self) -> int:
        """The date of what is made now and has no date of its own, in nanoseconds."""
        epoch = self.plan.epoch
        return int(self.clock() * 1e9) if epoch is None else epoch * 1_000_000_000

    def anew(self, step: Step) -> bool:
        """Whether a step is to be done whatever is on record."""
        return self.options.no_cache or step.no_cache

    @property
    def youngest(self) -> int | None:
        """The latest date of a file in a new layer, in seconds; None for no limit."""
        return self.plan.epoch if self.options.rewrite_timestamps else None

    def inspect(self, step: RunStep, message: str) -> None:
        """Let somebody look at a failed step, if that was asked for."""
        if self.options.on_failure is None:
            return
        with self.common.inspection:
            if not self.cancellation.cancelled:
                self.cancellation.cancel()
                self.options.on_failure(step, message)

    def check(self) -> None:
        """Stop here if the build was cancelled.

        Raises:
            BuildCancelledError: it was.
        """
        if self.cancellation.cancelled:
            raise BuildCancelledError("the build was cancelled")
