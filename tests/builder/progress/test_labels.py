"""Steps of builds that are shown together say whose they are."""

from __future__ import annotations

from builder.progress.events import VertexCached, VertexStarted
from builder.progress.tracker import Tracker


class Seen:
    def __init__(self) -> None:
        self.events = []

    def emit(self, event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def test_a_label_goes_into_the_brackets_of_a_step_and_numbers_are_shared() -> None:
    display, record = Seen(), Seen()
    tracker = Tracker(display, lambda: 0.0)
    app = tracker.labelled("app")
    tracker.start("[internal] load").done()
    app.start("[build 1/2] RUN a").done()
    app.seen_by(record).cached("exporting")
    tracker.cached("[plain] b")
    shown = [e for e in display.events if isinstance(e, VertexStarted | VertexCached)]
    assert [event.name for event in shown] == [
        "[internal] load",
        "[app build 1/2] RUN a",
        "[app] exporting",
        "[plain] b",
    ]
    assert [event.vertex for event in shown] == [1, 2, 3, 4]
    assert [event.name for event in record.events] == ["[app] exporting"]
