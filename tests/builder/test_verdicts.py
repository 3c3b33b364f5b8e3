"""Every step's verdict, after a build and before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import api
from builder.bases import StoreResolver
from builder.explanation import explanation_json, explanation_text
from builder.progress.tracker import Tracker
from builder.request import BuildRequest, Change, StepVerdict
from images.reference import Reference
from images.store import ImageStore
from tests.builder.fakes import FakeRunner, RecordingProgress, write
from tests.builder.workbench import Workbench

TEXT = """\
FROM base AS build
COPY src /src/
RUN make
FROM scratch
COPY --from=build /out /out
RUN finish
"""


class Place:
    """Real files, faked commands: builds and predictions of one context."""

    def __init__(self, bench: Workbench, context: Path) -> None:
        self.bench = bench
        self.store: ImageStore = bench.store
        self.context = context
        context.mkdir()
        (context / "src").mkdir()
        (context / "src/a.c").write_text("a")
        (context / "src/b.c").write_text("b")
        (context / "Dockerfile").write_text(TEXT)
        bench.add_base("base", {"x": "1"})
        self.runner = FakeRunner()

    def build(self, **options) -> dict[str, StepVerdict]:
        self.runner = FakeRunner({"make": lambda step: write(step, "out", "made")})
        result = api.build(
            BuildRequest(self.context, **options),
            store=self.store,
            runner=self.runner,
            resolver=StoreResolver(self.store),
            tracker=Tracker(RecordingProgress()),
        )
        return {step.name.partition("] ")[2]: step for step in result.steps}

    def predict(self, **options) -> dict[str, StepVerdict]:
        _, steps = api.predict(
            BuildRequest(self.context, **options),
            store=self.store,
            resolver=StoreResolver(self.store),
            tracker=Tracker(RecordingProgress()),
        )
        return {step.name.partition("] ")[2]: step for step in steps}


@pytest.fixture
def place(bench: Workbench, tmp_path: Path) -> Place:
    return Place(bench, tmp_path / "place")


def outcomes(steps: dict[str, StepVerdict]) -> list[str]:
    return [step.outcome for step in steps.values()]


def test_the_first_build_has_nothing_to_compare_with(place: Place) -> None:
    steps = place.build()
    assert {s.reason for s in steps.values() if s.outcome == "executed"} == {"no record"}
    again = place.build(no_cache=True)
    reasons = {s.reason for s in again.values() if s.outcome == "executed"}
    assert reasons == {"the cache is not asked"}


def test_changes_are_named(place: Place) -> None:
    place.build()
    (place.context / "src/a.c").write_text("A")
    (place.context / "src/c.c").write_text("c")
    steps = place.build()
    copy = steps["COPY src /src/"]
    assert copy.reason == "file src/a.c changed and 1 more"
    assert copy.where == "Dockerfile:2"
    assert copy.changes == (
        Change("file", "src/a.c", "changed"),
        Change("file", "src/c.c", "added"),
    )
    assert steps["RUN make"].reason == "[build 2/3] COPY src /src/ was done anew"
    assert steps["FROM docker.io/library/base:latest"].outcome == "cached"


def test_an_inserted_instruction_is_no_change_of_those_after_it(place: Place) -> None:
    place.build()
    (place.context / "Dockerfile").write_text(TEXT.replace("RUN make", "RUN setup\nRUN make"))
    steps = place.build()
    assert steps["RUN make"].reason == "[build 3/4] RUN setup was done anew"


def test_a_repeated_build_says_so_of_every_step(place: Place) -> None:
    place.build(tags=(Reference.parse("a"),))
    text = TEXT + "LABEL a=b\n"
    (place.context / "Dockerfile").write_text(text)
    steps = place.build()
    assert set(outcomes(steps)) == {"cached"}
    assert place.runner.texts == []


def test_predictions_come_true(place: Place) -> None:
    assert outcomes(place.predict()) == ["cached", *["executed"] * 4]
    place.build()
    assert set(outcomes(place.predict())) == {"cached"}
    (place.context / "src/a.c").write_text("A")
    predicted = place.predict()
    assert predicted["RUN make"].reason == "[build 2/3] COPY src /src/ was done anew"
    assert predicted["COPY --from=build /out /out"].outcome == "open"
    assert place.predict() == predicted, "a prediction leaves no trace"


def test_prediction_knows_what_is_asked_anew(place: Place) -> None:
    place.build()
    steps = place.predict(no_cache=True)
    assert [name for name, step in steps.items() if step.outcome == "cached"] == [
        "FROM docker.io/library/base:latest"
    ]
    steps = place.predict(no_cache_stages=("build",))
    assert steps["COPY src /src/"].outcome == "executed"
    assert steps["COPY --from=build /out /out"].outcome == "open"


def test_reports() -> None:
    steps = [
        StepVerdict("[1/2] FROM b", "cached", "base image x"),
        StepVerdict(
            "[2/2] COPY . /",
            "executed",
            "file f0 changed and 11 more",
            "Dockerfile:2",
            tuple(Change("file", f"f{number}") for number in range(12)),
        ),
    ]
    text = explanation_text(steps)
    assert "executed [2/2] COPY . /\n           Dockerfile:2: file f0 changed and 11 more" in text
    assert "- file f9 changed\n           - and 2 more\n" in text
    assert text.endswith("1 of 2 steps cached\n")
    assert "to do" in explanation_text(steps, planned=True)
    document = explanation_json(steps)
    assert document[1]["changes"][0] == {"kind": "file", "name": "f0", "how": "changed"}


def test_verdicts_tell_time_and_size(place: Place) -> None:
    first = place.build()
    assert first["RUN make"].seconds > 0
    assert first["COPY src /src/"].size is not None
    (place.context / "src/a.c").write_text("other")
    again = place.build()
    assert again["COPY src /src/"].seconds > 0
    assert again["RUN finish"].size == first["RUN finish"].size
    told = explanation_json(list(again.values()))
    assert {"seconds", "size"} <= set(told[0])
