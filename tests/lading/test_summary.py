"""The closing summary of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.progress.events import LayerStored
from lading.render.summary import SHOWN, seconds, summary_text
from tests.engine.builds.history.kit import Story


def story(tmp_path: Path) -> Story:
    told = Story(tmp_path)
    base = told.tracker.cached("[1/3] FROM base", "base image")
    make = told.step("[2/3] RUN make", 65.0, reason="file a changed", inputs=(base,))
    told.tracker.send(LayerStored(make, "sha256:1", 45_000_000, told.clock.now))
    told.step("[3/3] RUN \x1b[2Jtest", 2.5, reason="[2/3] RUN make was done anew", inputs=(make,))
    told.end()
    return told


def test_what_took_the_time(tmp_path: Path) -> None:
    assert summary_text(story(tmp_path).recorder.document, width=100).splitlines() == [
        "Summary: 1m08s, 1 of 3 steps cached, 45MB of new layers",
        f"    1m05s     45MB  {'[2/3] RUN make':50}  file a changed",
        f"     2.5s           {'[3/3] RUN test':50}  [2/3] RUN make was done anew",
        "  slowest chain 1m08s: [2/3] 1m05s > [3/3] 2.5s",
    ]


def test_cached_steps_are_listed_when_everything_is_asked_for(tmp_path: Path) -> None:
    text = summary_text(story(tmp_path).recorder.document, width=100, everything=True)
    assert "   cached           [1/3] FROM base\n" in text


@pytest.mark.parametrize("width", [10, 20, 40, 79])
def test_it_fits_any_terminal(tmp_path: Path, width: int) -> None:
    text = summary_text(story(tmp_path).recorder.document, width=width, everything=True)
    assert max(map(len, text.splitlines())) <= width


def test_of_many_steps_the_slowest_are_told_in_their_order(tmp_path: Path) -> None:
    told = Story(tmp_path)
    for number in range(30):
        told.step(f"[{number}/30] RUN x", 0.1 + number % 15)
    told.end()
    lines = summary_text(told.recorder.document, width=100).splitlines()[1:]
    listed = [line for line in lines if line.startswith("    ")]
    assert len(listed) == SHOWN
    places = [int(line.split("[")[1].split("/")[0]) for line in listed]
    assert places == sorted(places)


def test_work_side_by_side_is_told(tmp_path: Path) -> None:
    told = Story(tmp_path)
    vertices = [told.tracker.start(f"[{name} 1/1] RUN x") for name in ("a", "b")]
    told.clock.now += 4
    for vertex in vertices:
        vertex.done()
    told.end()
    head = summary_text(told.recorder.document, width=100).splitlines()[0]
    assert head == "Summary: 4.0s, 0 of 2 steps cached, 8.0s of work side by side"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0s"), (59.94, "59.9s"), (60, "1m00s"), (3725, "62m05s")]
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text
