"""Layers on their way beside a build: each once, a few at a time, none after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from builder.errors import BuildCancelledError
from builder.progress.tracker import Tracker
from builder.runner import Cancellation
from builder.solver.records import StoredLayer
from engine.access import Access
from engine.builds.remote_cache.lazy_store import LazyStore
from engine.builds.remote_cache.line import Line
from engine.builds.remote_cache.sender import UPLOADS, Report, Sender
from images.client.progress import LayerState
from images.descriptor import Descriptor
from images.errors import EnvironmentFault, ImagesError
from images.futures import CancelledError
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress
from tests.builder.remote.kit import layer


class Place:
    """Somewhere that takes layers when it may."""

    def __init__(self, error: ImagesError | None = None) -> None:
        self.open = threading.Event()
        self.taken: list[StoredLayer] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._error = error

    def deliver(self, one: StoredLayer, report: Report) -> tuple[Descriptor, LayerState]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.taken.append(one)
        self.open.wait(30)
        report(one.descriptor.size)
        with self._lock:
            self._now -= 1
        if self._error is not None:
            raise self._error
        return one.descriptor, LayerState.DONE


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()


def test_each_layer_goes_once_and_not_all_at_the_same_time(progress: RecordingProgress) -> None:
    place = Place()
    with closing(Sender("there", place.deliver, Tracker(progress), failed=lambda _: None)) as it:
        layers = [layer(str(number)) for number in range(3 * UPLOADS)]
        futures = [it.send(one, "RUN one") for one in (*layers, *layers)]
        place.open.set()
        it.settle()
        assert [future.result() for future in futures[:2]] == [it.descriptor for it in layers[:2]]
        assert (it.begun, it.arrived) == (len(layers), len(layers))
    assert sorted(map(str, place.taken)) == sorted(map(str, layers))
    assert place.most <= UPLOADS
    assert progress.names.count("sending layer of RUN one to there") == len(layers)


def test_the_first_failure_ends_it_and_names_the_step(progress: RecordingProgress) -> None:
    error = EnvironmentFault("no room")
    told: list[ImagesError] = []
    place = Place(error)
    place.open.set()
    with closing(Sender("there", place.deliver, Tracker(progress), failed=told.append)) as it:
        first = it.send(layer("a"), "RUN one")
        assert first.exception() is error
        assert it.send(layer("b"), "RUN two").exception() is error
    assert told == [error]
    assert error.__notes__ == ["while the layer of RUN one was sent to there"]
    assert len(place.taken) == 1


def test_what_has_not_begun_when_it_is_closed_never_does(progress: RecordingProgress) -> None:
    place = Place()
    it = Sender("there", place.deliver, Tracker(progress), failed=lambda _: None)
    futures = [it.send(layer(str(number)), "RUN") for number in range(3 * UPLOADS)]
    closer = threading.Thread(target=it.close)
    closer.start()
    while not futures[-1].done():
        closer.join(0.01)
    place.open.set()
    closer.join()
    assert len(place.taken) <= UPLOADS


def test_waiting_ends_with_the_build(progress: RecordingProgress) -> None:
    place, cancellation = Place(), Cancellation()
    with closing(Sender("there", place.deliver, Tracker(progress), failed=lambda _: None)) as it:
        it.send(layer("a"), "RUN one")
        cancellation.cancel()
        with pytest.raises(BuildCancelledError):
            it.settle(cancellation)
        place.open.set()
        it.settle(Cancellation())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    with closing(ImageStore.open(tmp_path)) as opened:
        yield opened


def test_a_file_that_is_read_in_the_background_ends_with_it(store: ImageStore) -> None:
    digest = store.blobs.put(b"some bytes")
    ended = threading.Event()
    lazy = LazyStore(store, lambda _: False, ended=ended)
    with lazy.blobs.open(digest) as file:
        assert file.read(4) == b"some"
        assert (file.tell(), file.seek(5), file.read()) == (4, 5, b"bytes")
        assert file.seekable()
        assert file.readable()
        ended.set()
        with pytest.raises(CancelledError):
            file.read()


def test_a_line_knows_who_was_given_a_blob() -> None:
    line = Line(Access("/nonexistent"))
    digest = layer("a").descriptor.digest
    with line.turn("registry", digest) as holder:
        assert holder is None
        line.note("registry", digest, "one")
    with line.turn("registry", digest) as holder:
        assert holder == "one"
    with line.turn("other", digest) as holder:
        assert holder is None
    line.close()
    with pytest.raises(CancelledError):
        line.call(lambda client: client.close())
