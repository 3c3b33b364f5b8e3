"""A store in a temporary directory and everything else faked: a build in a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.bases import StoreResolver
from builder.build import Workshop, run_build
from builder.fastpath import ContextScans, fingerprint
from builder.inputs import read_inputs
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, BuildResult
from builder.runner import Cancellation
from builder.solver.common import CommonWork
from builder.storage import CacheTable, state_directory
from images.config import ImageConfig
from images.layers.entry import Entry
from images.layers.merged import MergedTree
from images.layers.pack import pack_layer
from images.manifest import Manifest
from images.platform import Platform
from images.reference import Reference
from images.store import Image, ImageStore
from tests.builder.fakes import Command, FakeFiles, FakeRunner, RecordingProgress

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Ticking:
    """A clock that moves by a second whenever it is read."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Workbench:
    """Builds Dockerfile texts; what was run and shown by the latest build is kept."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore.open(root / "store")
        self.directory = root / "context"
        self.directory.mkdir()
        self.files = FakeFiles()
        self.clock = Ticking()
        self.runner = FakeRunner()
        self.progress = RecordingProgress()
        self.cancellation = Cancellation()
        self.emulated: set[Platform] = set()

    def close(self) -> None:
        self.store.close()

    def build(
        self, text: str, commands: Mapping[str, Command] | None = None, **options: Any
    ) -> BuildResult:
        """One ordinary build, with a fresh runner and a fresh progress record."""
        request = BuildRequest(self.directory, text.encode(), **options)
        inputs = read_inputs(request)
        platform = request.platform or Platform.host()
        self.runner = FakeRunner(commands)
        self.runner.emulated = self.emulated
        self.progress = RecordingProgress()
        self.cancellation = Cancellation()
        shop = Workshop(
            store=self.store,
            values=CacheTable(self.store),
            state=state_directory(self.store),
            runner=self.runner,
            resolver=StoreResolver(self.store),
            tracker=Tracker(self.progress, self.clock),
            cancellation=self.cancellation,
            clock=self.clock,
            host=Platform.host(),
            common=CommonWork(),
        )
        key = fingerprint(request, inputs, platform)
        scans = ContextScans(inputs, lambda: int(self.clock() * 1e9))
        return run_build(request, inputs, platform, key, shop, self.files, scans)

    def image(self, result: BuildResult) -> Image:
        return self.store.image(result.descriptor)

    def tree(self, result: BuildResult) -> MergedTree:
        return MergedTree(self.store.lowerdirs(self.image(result)))

    def add_base(self, name: str, files: Mapping[str, str], **config: Any) -> Reference:
        """Store an image of one layer under ``name``."""
        entries = [
            Entry(path, "f", size=len(text), source=text.encode())
            for path, text in sorted(files.items())
        ]
        layer = pack_layer(entries, self.store.blobs)
        document = ImageConfig.build(
            Platform.host(), [layer.diff_id], config={"Env": [PATH], **config}
        )
        manifest = Manifest.build(document.descriptor(), [layer.descriptor])
        self.store.blobs.put(document.raw)
        self.store.blobs.put(manifest.raw)
        reference = Reference.parse(name)
        self.store.tag(reference, manifest.descriptor)
        return reference
