"""A machine with faked commands whose caches are in directories: a build in a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import api
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, BuildResult
from builder.solver.records import StoredLayer
from engine.access import Access
from engine.builds.building import Yard
from engine.builds.order import BuildOrder
from engine.builds.remote_cache.options import CacheSource, CacheTarget
from engine.builds.remote_cache.station import remote_caches
from images.store import ImageStore
from records import replace
from tests.builder.fakes import Command, FakeRunner, RecordingProgress


class Machine:
    """One store, and what its latest build ran and showed."""

    def __init__(self, folder: Path) -> None:
        self.store = ImageStore.open(folder / "store")
        self.folder = folder
        self.runner = FakeRunner()
        self.progress = RecordingProgress()

    def close(self) -> None:
        self.store.close()

    def build(
        self,
        text: str,
        commands: Mapping[str, Command] | None = None,
        *,
        cache_from: Sequence[CacheSource] = (),
        cache_to: Sequence[CacheTarget] = (),
        context: Path | None = None,
        **options: Any,
    ) -> BuildResult:
        """Build a Dockerfile through the stations of remote caches."""
        self.runner, self.progress = FakeRunner(commands), RecordingProgress()
        tracker = Tracker(self.progress)
        request = BuildRequest(context, text.encode(), **options)
        order = BuildOrder(request, cache_from=tuple(cache_from), cache_to=tuple(cache_to))
        yard = Yard(self.store, Access(str(self.store.root)), "/nonexistent")
        with remote_caches(order, yard, tracker) as cached:
            caches = cached.caches
            assert caches is not None
            resolver = caches.resolver(
                cached.access, progress=lambda _: None, always=False, lock=None
            )
            return caches.attempt(
                lambda cancellation: api.build(
                    request,
                    store=cached.store,
                    runner=self.runner,
                    resolver=resolver,
                    tracker=tracker,
                    cancellation=cancellation,
                    elsewhere=caches,
                )
            )

    def layers(self, result: BuildResult) -> list[str]:
        """The digests of an image's layers."""
        return [str(it.digest) for it in self.store.image(result.descriptor).manifest.layers]


def source(path: Path, **fields: Any) -> CacheSource:
    """A cache in a directory, to ask."""
    return replace(CacheSource("local", path=path), **fields)


def target(path: Path, **fields: Any) -> CacheTarget:
    """A cache in a directory, to fill, with every step's layer."""
    return replace(CacheTarget("local", path=path, mode="max"), **fields)


def with_layers(record: Any, *layers: StoredLayer) -> Any:
    """A record of other layers."""
    return replace(record, layers=layers)
