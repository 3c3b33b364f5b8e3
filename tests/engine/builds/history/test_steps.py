"""Where the time of a build went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.builds.history.steps import TracedStep, slowest_chain, totals_of


def step(number: int, seconds: float, *inputs: int, outcome: str = "executed") -> TracedStep:
    name = f"[{number}/9] RUN {number}"
    return TracedStep(number, name, outcome, 100.0, 100.0 + seconds, inputs=inputs)


def numbers(steps: tuple[TracedStep, ...]) -> list[int]:
    return [it.number for it in steps]


def test_the_chain_goes_where_the_time_went() -> None:
    steps = [step(1, 1), step(2, 5, 1), step(3, 1, 1), step(4, 3, 3), step(5, 1, 2, 4)]
    assert numbers(slowest_chain(steps)) == [1, 2, 5]


def test_cached_steps_take_no_place() -> None:
    steps = [step(1, 0, outcome="cached"), step(2, 2, 1)]
    assert numbers(slowest_chain(steps)) == [2]
    assert slowest_chain([]) == ()


@given(st.lists(st.tuples(st.integers(0, 50), st.sets(st.integers(0, 11))), max_size=12))
def test_no_chain_takes_longer(rows: list[tuple[int, set[int]]]) -> None:
    steps = [
        step(number, seconds, *sorted(it for it in inputs if it < number))
        for number, (seconds, inputs) in enumerate(rows)
    ]

    def longest(number: int) -> float:
        return rows[number][0] + max(map(longest, steps[number].inputs), default=0)

    best = max(map(longest, range(len(rows))), default=0)
    chain = slowest_chain(steps)
    assert round(sum(it.seconds for it in chain)) == best
    assert numbers(chain) == sorted(numbers(chain))


def test_totals_count_the_steps_of_the_dockerfile() -> None:
    steps = [
        TracedStep(1, "[internal] load x", "executed", 100.0, 101.0),
        step(2, 0, outcome="cached"),
        step(3, 4, 2),
        TracedStep(4, "exporting to image", "executed", 105.0, 106.0),
    ]
    totals = totals_of({"started": 100.0, "ended": 106.5}, steps)
    assert (totals.wall, totals.work) == (6.5, 6.0)
    assert (totals.steps, totals.cached, totals.executed) == (2, 1, 1)


def test_a_build_that_runs_ends_with_its_latest_step() -> None:
    running = TracedStep(1, "[1/1] RUN x", "running", 100.0)
    totals = totals_of({"started": 99.0, "ended": None}, [running, step(2, 3)])
    assert totals.wall == 4.0
