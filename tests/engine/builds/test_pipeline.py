"""The way of an order: one display for all of it, closed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.progress.events import VertexStarted
from builder.progress.tracker import Tracker
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from engine.access import Access
from engine.builds.building import Yard
from engine.builds.order import BuildOrder
from engine.builds.pipeline import carry_out, fulfil
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    store = ImageStore.open(tmp_path / "store")
    yield Yard(store, Access(store.directory), str(tmp_path / "run"))
    store.close()


def order(text: str) -> BuildOrder:
    return BuildOrder(BuildRequest(None, text.encode()))


def test_the_display_is_closed_when_all_is_done(yard: Yard) -> None:
    progress = RecordingProgress()
    outcome = carry_out(order("FROM scratch\nENV A=1\n"), yard, progress)
    assert progress.closed
    assert outcome.root == outcome.images[0].descriptor


def test_the_display_is_closed_after_a_failure(yard: Yard) -> None:
    progress = RecordingProgress()
    with pytest.raises(DockerfileError):
        carry_out(order("FROM scratch\nRNU x\n"), yard, progress)
    assert progress.closed


def test_orders_may_share_a_display(yard: Yard) -> None:
    progress = RecordingProgress()
    tracker = Tracker(progress)
    for text in ("FROM scratch\nENV A=1\n", "FROM scratch\nENV A=2\n"):
        fulfil(order(text), yard, tracker)
    assert not progress.closed
    numbers = [event.vertex for event in progress.events if isinstance(event, VertexStarted)]
    assert numbers == sorted(set(numbers))
