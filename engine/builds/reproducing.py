"""``--verify-reproducible``: everything is built once more, apart from the first, and compared.

Apart means: in a store of its own, which is thrown away. It has no cache of steps, no downloads and
empty cache mounts, so nothing but the sources and the base images is shared, and at another second,
so that a date that was taken from the clock shows. Base images are those that the first build had.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from builder import api
from builder.bases import ResolvedBase
from builder.contexts import ImageContext
from builder.storage import state_directory
from engine.builds.building import LazyRunner
from engine.builds.resolving import PullingResolver
from images.errors import ImagesError
from images.gc import present_below
from images.layers.compare import compare_layers
from images.layers.compress import Decompressed
from images.locks import flock, hold, is_held
from images.mediatype import layer_compression
from images.store import ImageStore
from images.trees import remove_tree
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Cancellation
    from engine.builds.building import Yard
    from engine.builds.lock import BuildLock
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.layers.compare import FileDifference, Opener
    from images.platform import Platform
    from images.reference import Reference
    from images.store import Image

FOLDER: Final = "apart"
"""Of the builder's state: the second stores."""
IN_USE: Final = "in-use"
"""Locked in each of them for as long as it is used."""
SHOWN: Final = 20
"""Differences told of one layer."""
FIX: Final = (
    "set SOURCE_DATE_EPOCH against dates; sort lists, fix seeds and pin packages against contents"
)


class LayerDifferences(Record):
    """One layer that came out differently; ``number`` counts from 1."""

    number: int
    of: int
    created_by: str
    files: tuple[FileDifference, ...]


class NotReproducibleError(ImagesError):
    """Two builds of the same gave two images. ``config`` has a line for each field that differs."""

    code = "not-reproducible"

    def __init__(
        self,
        first: Digest,
        second: Digest,
        config: Sequence[str],
        layers: Sequence[LayerDifferences],
        *,
        platform: Platform | None = None,
    ) -> None:
        self.config = tuple(config)
        self.layers = tuple(layers)
        where = "" if platform is None else f" for {platform}"
        lines = [f"not reproducible{where}: {first}, then {second}"]
        lines += [f"  config: {line}" for line in self.config]
        for layer in self.layers:
            lines.append(f"  layer {layer.number} of {layer.of}: {layer.created_by}".rstrip(": "))
            lines += [f"    {difference}" for difference in layer.files[:SHOWN]]
            if len(layer.files) > SHOWN:
                lines.append(f"    and {len(layer.files) - SHOWN} more")
        super().__init__("\n".join(lines), fix=FIX)


def verify(
    request: BuildRequest,
    result: BuildResult,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    lock: BuildLock | None = None,
) -> None:
    """Build ``request`` once more and compare the image with ``result``.

    Raises:
        NotReproducibleError: they differ; says in what.
        BuildError, ImagesError: as ``building.build``.
    """
    _let_a_second_pass(tracker.now)
    with _store_apart(state_directory(yard.store) / FOLDER) as apart:
        second = _build_apart(request, yard, apart, tracker, cancellation, lock)
        if second.descriptor.digest != result.descriptor.digest:
            raise _differences(request, result, second, yard.store, apart)


@contextmanager
def _store_apart(folder: Path) -> Iterator[ImageStore]:
    """A store below ``folder`` that is thrown away, as are those that killed builds have left."""
    with flock(folder / "lock", exclusive=True):
        for left in folder.glob("store-*"):
            if not is_held(left / IN_USE):
                remove_tree(left)
        root = Path(tempfile.mkdtemp(prefix="store-", dir=folder))
        held = hold(root / IN_USE)
    try:
        apart = ImageStore.open(root)
        try:
            yield apart
        finally:
            apart.close()
    finally:
        with flock(folder / "lock", exclusive=True):
            remove_tree(root)
        os.close(held)


def _build_apart(
    request: BuildRequest,
    yard: Yard,
    apart: ImageStore,
    tracker: Tracker,
    cancellation: Cancellation | None,
    lock: BuildLock | None,
) -> BuildResult:
    request = replace(request, pull=False, no_cache=False, no_cache_stages=(), register=False)
    for context in request.contexts.values():
        if isinstance(context, ImageContext) and context.stored is not None:
            bring_over(context.stored, yard.store, apart)
    judge = None
    if lock is not None or yard.access.explicit:
        from engine.builds.source_rules import SourceRules

        judge = SourceRules(yard.access.policy() if yard.access.explicit else None, lock)
    resolver = PullingResolver(yard.store, yard.access, progress=_ignore, lock=lock)
    with apart.lease("build apart"):
        return api.build(
            request,
            store=apart,
            runner=LazyRunner(replace(yard, store=apart)),
            resolver=_BringsOver(resolver, yard.store, apart),
            tracker=tracker,
            cancellation=cancellation,
            judge=judge,
        )


class _BringsOver:
    """A ``BaseResolver`` for a second store: what the first one resolves is brought over."""

    def __init__(self, resolver: PullingResolver, store: ImageStore, apart: ImageStore) -> None:
        self._resolver = resolver
        self._store = store
        self._apart = apart

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """As the first store's resolver; raises as that."""
        base = self._resolver.resolve(reference, platform)
        bring_over(base.descriptor, self._store, self._apart)
        return base

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """Nothing: no build is recorded in a store that is thrown away."""
        return None


def bring_over(root: Descriptor, store: ImageStore, apart: ImageStore) -> None:
    """Let another store on the same disk have an image, by links to its blobs.

    Raises:
        OSError: the stores are not on one disk.
    """
    for digest in present_below(store.blobs, root.digest):
        if apart.blobs.size(digest) is None:
            stage = Path(apart.directory) / f"link-{secrets.token_hex(8)}"
            os.link(store.blobs.path(digest), stage)
            apart.blobs.adopt(stage, digest)


def _differences(
    request: BuildRequest,
    result: BuildResult,
    second: BuildResult,
    store: ImageStore,
    apart: ImageStore,
) -> NotReproducibleError:
    old, new = store.image(result.descriptor), apart.image(second.descriptor)
    config = _config_lines(old.config.to_json(), new.config.to_json())
    return NotReproducibleError(
        result.descriptor.digest,
        second.descriptor.digest,
        config,
        _layers(old, new, store, apart),
        platform=request.platform,
    )


def _layers(old: Image, new: Image, store: ImageStore, apart: ImageStore) -> list[LayerDifferences]:
    commands = [entry.created_by for entry in old.config.history if not entry.empty_layer]
    count = len(old.manifest.layers)
    found = []
    layers = zip(old.manifest.layers, new.manifest.layers, strict=False)
    for number, (before, after) in enumerate(layers, 1):
        if before.digest == after.digest:
            continue
        files = compare_layers(_opener(before, store), _opener(after, apart))
        # Counted from the end, since a base may come without a history.
        place = len(commands) - count + number - 1
        said = commands[place] if place >= 0 else ""
        found.append(LayerDifferences(number, count, said, tuple(files)))
    return found


def _opener(layer: Descriptor, store: ImageStore) -> Opener:
    @contextmanager
    def opened() -> Iterator[Decompressed]:
        with store.blobs.open(layer.digest) as file:
            yield Decompressed(file, layer_compression(layer.media_type))

    return opened


def _config_lines(old: Any, new: Any, path: str = "") -> list[str]:
    """A line for each leaf that differs; diff ids are left to the layers."""
    if path == "rootfs.diff_ids" and len(old) == len(new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            lines += _config_lines(old.get(key), new.get(key), inner)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for n, (a, b) in pairs for line in _config_lines(a, b, f"{path}[{n}]")]
    return [] if old == new else [f"{path}: {old}, then {new}"]


def _let_a_second_pass(clock: Callable[[], float]) -> None:
    """Wait until no whole second of the first build is left: files have dates by the second."""
    begun = int(clock())
    while int(clock()) == begun:
        time.sleep(1.0 - clock() % 1.0 + 0.001)


def _ignore(*_: object) -> None:
    """Bases are there already."""
