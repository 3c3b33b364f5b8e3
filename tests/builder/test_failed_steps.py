"""Somebody looks at a step that failed, before its root goes."""

from __future__ import annotations

import threading

import pytest

from builder import api
from builder.bases import StoreResolver
from builder.errors import StepFailedError
from builder.progress.tracker import Tracker
from builder.request import BuildRequest
from builder.runner import RunStep
from tests.builder.fakes import FakeRunner, RecordingProgress, read, write
from tests.builder.workbench import Workbench


def build(bench: Workbench, text: str, commands, inspector) -> None:
    api.build(
        BuildRequest(bench.directory, text.encode()),
        store=bench.store,
        runner=FakeRunner(commands),
        resolver=StoreResolver(bench.store),
        tracker=Tracker(RecordingProgress()),
        on_failure=inspector,
    )


def half(step: RunStep) -> int:
    write(step, "half", "made")
    return 3


def test_the_root_is_still_there_and_the_error_stays(bench: Workbench) -> None:
    seen = []

    def look(step: RunStep, message: str) -> None:
        seen.append((step.args[-1], read(step, "/half"), read(step, "/first"), message))

    first = {"first": lambda step: write(step, "first", "1"), "fail": half}
    with pytest.raises(StepFailedError, match="exit code: 3"):
        build(bench, "FROM scratch\nRUN first\nRUN fail\n", first, look)
    (found,) = seen
    assert found[:3] == ("fail", "made", "1")
    assert "did not complete successfully" in found[3]


def test_other_steps_are_stopped_first_and_one_failure_is_shown(bench: Workbench) -> None:
    stopped = threading.Event()
    seen: list[str] = []

    def wait(step: RunStep) -> int:
        step.cancellation.subscribe(stopped.set)
        started.set()
        assert stopped.wait(20)
        return 137

    def fail(step: RunStep) -> int:
        assert started.wait(20)
        return 1

    started = threading.Event()

    def look(step: RunStep, message: str) -> None:
        assert stopped.is_set()
        seen.append(step.args[-1])

    text = (
        "FROM scratch AS a\nRUN wait\nFROM scratch AS b\nRUN fail\n"
        "FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    )
    with pytest.raises(StepFailedError):
        build(bench, text, {"wait": wait, "fail": fail}, look)
    assert seen == ["fail"]


def test_nobody_is_called_when_nothing_fails(bench: Workbench) -> None:
    build(bench, "FROM scratch\nRUN fine\n", {}, lambda *_: pytest.fail("called"))
