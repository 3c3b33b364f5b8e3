"""Two builds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.progress.events import DefinitionRead, LayerStored, MaterialFound
from engine.builds.history.comparing import compare
from tests.engine.builds.history.kit import Clock, Story


def told(
    root: Path,
    text: str,
    base: str = "sha256:1",
    args: dict[str, str] | None = None,
    slow: float = 1,
) -> dict[str, Any]:
    """A build of a Dockerfile of RUN lines; each step takes a second, one with ``slow`` longer."""
    story = Story(root, Clock(), build_args=args or {})
    story.tracker.send(DefinitionRead("Dockerfile", text.encode()))
    story.tracker.send(MaterialFound("base:latest", base))
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        name = f"[{number}/{len(lines)}] {line}"
        if "cached" in line:
            story.tracker.cached(name)
            continue
        vertex = story.step(name, slow if "slow" in line else 1.0, reason="no record")
        story.tracker.send(LayerStored(vertex, f"sha256:{line}", 10, story.clock.now))
    story.end()
    return story.recorder.document


def test_equal_builds_have_no_differences(tmp_path: Path) -> None:
    found = compare(told(tmp_path, "RUN a\nRUN b\n"), told(tmp_path, "RUN a\nRUN b\n"))
    assert (found.inputs, found.dockerfile, found.steps) == ((), (), ())
    assert found.same_result


def test_inputs(tmp_path: Path) -> None:
    before = told(tmp_path, "RUN a\n", args={"A": "1", "GONE": "x"})
    after = told(tmp_path, "RUN a\n", "sha256:2", args={"A": "2"})
    found = compare(before, after)
    assert [(it.what, it.name, it.before, it.after) for it in found.inputs] == [
        ("args", "A", "1", "2"),
        ("args", "GONE", "x", ""),
        ("material", "base:latest", "sha256:1", "sha256:2"),
    ]


def test_an_inserted_line_does_not_make_all_below_new(tmp_path: Path) -> None:
    found = compare(
        told(tmp_path, "RUN a\nRUN b\nRUN c\n"), told(tmp_path, "RUN a\nRUN new\nRUN b\nRUN c\n")
    )
    assert [(pair.name, pair.before) for pair in found.steps] == [("[2/4] RUN new", None)]
    assert "+RUN new" in found.dockerfile


def test_an_edited_line_is_the_same_step(tmp_path: Path) -> None:
    found = compare(told(tmp_path, "RUN a\nRUN b\n"), told(tmp_path, "RUN a\nRUN edited\n"))
    (pair,) = found.steps
    assert pair.before is not None
    assert (pair.before.name, pair.name) == ("[2/2] RUN b", "[2/2] RUN edited")


def test_outcomes_durations_and_what_is_gone(tmp_path: Path) -> None:
    before = told(tmp_path, "RUN slow\nRUN cached\nRUN last\n")
    after = told(tmp_path, "RUN slow\nRUN cached\n", slow=9)
    found = compare(before, after)
    assert [(pair.name, pair.after is None) for pair in found.steps] == [
        ("[1/2] RUN slow", False),
        ("[3/3] RUN last", True),
    ]
    assert [total.wall for total in found.totals] == [2.0, 9.0]
