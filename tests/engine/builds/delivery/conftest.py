"""A yard with a small base image, and orders that need no container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.request import BuildRequest
from engine.access import Access
from engine.builds.building import Yard
from engine.builds.delivery.annotations import parse_annotations
from engine.builds.delivery.outputs import parse_outputs
from engine.builds.order import BuildOrder, BuildOutcome
from engine.builds.pipeline import carry_out
from images.layers.entry import Entry
from images.reference import Reference
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress
from tests.images.storekit import put_image, put_layer

DOCKERFILE = "FROM base\nCOPY a /new/a\nCOPY b /etc/b\nCOPY a /new/c\n"


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    store = ImageStore.open(tmp_path / "store")
    base = put_layer(
        store,
        Entry("etc", "d", 0o755, mtime=10**18),
        Entry("etc/b", "f", 0o600, 7, 8, 3, 10**18, source=b"old"),
        Entry("etc/base", "f", 0o4755, 1, 2, 4, 10**18, source=b"base"),
        Entry("link", "l", 0o777, linkname="etc/base", mtime=10**18),
        Entry("twin", "h", linkname="etc/base", mtime=10**18),
        Entry("zero", "c", 0o600, major=1, minor=5, mtime=10**18),
    )
    store.tag(Reference.parse("base"), put_image(store, [base]).descriptor)
    yield Yard(store, Access(store.directory, environ={}), str(tmp_path / "run"))
    store.close()


class Bench:
    """Carries out orders for one context; the last one's progress stays to be looked at."""

    def __init__(self, yard: Yard, context: Path) -> None:
        self.yard = yard
        self.context = context
        self.progress = RecordingProgress()

    def __call__(
        self,
        *outputs: str,
        tags: tuple[str, ...] = (),
        dockerfile: str = DOCKERFILE,
        annotations: tuple[str, ...] = (),
        request: dict[str, Any] | None = None,
        **order: Any,
    ) -> BuildOutcome:
        self.progress = RecordingProgress()
        more = {"build_args": {"SOURCE_DATE_EPOCH": "1700000000"}, **(request or {})}
        asked = BuildRequest(
            self.context,
            dockerfile.encode(),
            tags=tuple(map(Reference.parse, tags)),
            **more,
        )
        wanted = BuildOrder(
            asked,
            outputs=parse_outputs(outputs),
            annotations=parse_annotations(annotations),
            **order,
        )
        return carry_out(wanted, self.yard, self.progress)

    @property
    def store(self) -> ImageStore:
        return self.yard.store


@pytest.fixture
def bench(yard: Yard, tmp_path: Path) -> Bench:
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_text("a" * 10_000)
    (context / "b").write_text("new")
    return Bench(yard, context)
