"""Builds as traces: OTLP's JSON, whose rules are the specification's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from engine.builds.history.otlp import trace_of
from tests.engine.builds.history.kit import Clock, Story


def _spans(*stories: Story) -> list[dict[str, Any]]:
    documents = []
    for story in stories:
        document = story.entry().document()
        assert document is not None
        documents.append(document)
    told = json.loads(json.dumps(trace_of(*documents)))
    return [
        span
        for resource in told["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _said(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_build_is_a_span_above_its_steps(tmp_path: Path) -> None:
    story = Story(tmp_path, Clock(1_700_000_000.5))
    below = story.step("[1/2] COPY a /a")
    story.step("[2/2] RUN make", 2.0, inputs=(below,))
    story.end()
    build, copy, make = _spans(story)
    assert {span["traceId"] for span in (build, copy, make)} == {build["traceId"]}
    assert re.fullmatch("[0-9a-f]{32}", build["traceId"])
    assert len({span["spanId"] for span in (build, copy, make)}) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", span["spanId"]) for span in (build, copy, make))
    assert "parentSpanId" not in build
    assert copy["parentSpanId"] == make["parentSpanId"] == build["spanId"]
    assert make["links"] == [{"traceId": build["traceId"], "spanId": copy["spanId"]}]
    assert build["startTimeUnixNano"] == "1700000000500000000"
    assert int(make["endTimeUnixNano"]) - int(make["startTimeUnixNano"]) == 2_000_000_000
    assert _said(make)["lading.step.outcome"] == "executed"
    assert build["status"] == {"code": 1}


def test_failures_say_so(tmp_path: Path) -> None:
    story = Story(tmp_path)
    vertex = story.tracker.start("[1/1] RUN false")
    story.clock.now += 1
    vertex.failed("exit code: 1")
    story.recorder.failed(ValueError("it went wrong"))
    build, step = _spans(story)
    assert build["status"] == {"code": 2, "message": "it went wrong"}
    assert step["status"] == {"code": 2, "message": "exit code: 1"}


def test_two_builds_are_two_traces(tmp_path: Path) -> None:
    stories = [Story(tmp_path / name) for name in "ab"]
    for story in stories:
        story.step("[1/1] COPY a /a")
        story.end()
    spans = _spans(*stories)
    assert len({span["traceId"] for span in spans}) == 2
    assert _spans(*stories) == spans, "ids follow from the record"


def test_what_runs_ends_with_its_latest_step(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.step("[1/2] COPY a /a", 3.0)
    story.tracker.start("[2/2] RUN make")
    build, _, make = _spans(story)
    assert int(build["endTimeUnixNano"]) - int(build["startTimeUnixNano"]) == 3_000_000_000
    assert make["endTimeUnixNano"] >= make["startTimeUnixNano"]
