"""Builds that are told to a recorder without being done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.progress.tracker import Tracker
from builder.request import BuildRequest, BuildResult
from engine.builds.history.archive import Entry, entries
from engine.builds.history.recorder import Recorder
from engine.builds.order import BuildOrder, BuildOutcome
from images.descriptor import Descriptor
from images.digest import Digest

DIGEST = Digest.of(b"image")
OUTCOME = BuildOutcome(
    Descriptor("application/vnd.oci.image.manifest.v1+json", DIGEST, 5),
    (
        BuildResult(
            Descriptor("application/vnd.oci.image.manifest.v1+json", DIGEST, 5), DIGEST, (), False
        ),
    ),
)


class Clock:
    """Seconds since the epoch, set by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Silent:
    """The display that nobody looks at."""

    def emit(self, event: object) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing to do."""


class Story:
    """One build as it is told."""

    def __init__(self, root: Path, clock: Clock | None = None, **options: Any) -> None:
        self.root = root
        self.clock = clock or Clock()
        limit = options.pop("limit", 100)
        sources = options.pop("sources", None)
        request = BuildRequest(options.pop("context", "/src/shop"), **options)
        order = BuildOrder(request, sources=sources)
        self.recorder = Recorder(order, str(root), self.clock, limit=limit)
        self.tracker = Tracker(Silent(), self.clock).seen_by(self.recorder)

    def step(self, name: str, seconds: float = 1.0, output: bytes = b"", **how: Any) -> int:
        """A step that takes its time and ends well."""
        vertex = self.tracker.start(name, **how)
        if output:
            vertex.output(1, output)
        self.clock.now += seconds
        vertex.done()
        return vertex.number

    def end(self) -> None:
        """The build ends well."""
        self.recorder.finished(OUTCOME)

    def entry(self) -> Entry:
        """What is on disk of it."""
        return next(entry for entry in entries(str(self.root)) if entry.ref == self.recorder.ref)


def log_of(entry: Entry) -> str:
    """All that was written, in one piece."""
    return "".join(line.text for line in entry.log())
