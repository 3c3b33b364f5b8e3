"""Whatever happens to events in the queue, none is lost and none overtakes another of its lane."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.events.queue import EventQueue
from registry.events.records import Delivery, NewDelivery

LANES = st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["a", "b", "c"]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(LANES, min_size=1, max_size=5)),
        st.tuples(st.sampled_from(["deliver", "fail", "bury", "retry", "reopen"]), st.just([])),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps=STEPS, limit=st.integers(1, 8))
def test_nothing_is_lost_and_lanes_keep_their_order(
    steps: list[tuple[str, list[tuple[str, str]]]], limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        queue = EventQueue(Path(folder))
        queue.begin(0)
        position, now, retried = 0, 0.0, False
        queued: dict[str, int] = defaultdict(int)
        taken: dict[tuple[str, str], list[int]] = defaultdict(list)
        for step, lanes in steps:
            now += 1
            if step == "append":
                new = [
                    NewDelivery(webhook, repository, f"{position}-{number}", b"{}")
                    for number, (webhook, repository) in enumerate(lanes)
                ]
                limits = {"one": limit, "two": limit}
                assert queue.append(
                    new, after=position, position=position + 1, now=now, limits=limits
                )
                position += 1
                for webhook, _ in lanes:
                    queued[webhook] += 1
            elif step == "reopen":
                queue.close()
                queue = EventQueue(Path(folder))
            elif step == "retry":
                retried |= queue.retry(None, webhook=None, now=now) > 0
            else:
                handle(queue, step, now, taken)
        for standing in queue.standings():
            kept = standing.pending + standing.dead
            assert kept + standing.delivered + standing.dropped == queued[standing.name]
            assert kept <= limit
        if not retried:
            assert all(numbers == sorted(numbers) for numbers in taken.values())
        drain(queue)
        assert all(standing.pending == 0 for standing in queue.standings())
        queue.close()


def handle(
    queue: EventQueue, step: str, now: float, taken: dict[tuple[str, str], list[int]]
) -> None:
    """Take everything that is due, and end it as the step says."""
    for webhook in ("one", "two"):
        due = queue.due(webhook, now=now, busy=(), limit=9)
        assert len({delivery.repository for delivery in due}) == len(due)
        for delivery in due:
            if step == "fail":
                queue.failed(delivery, "no", due=now + 1)
                continue
            taken[delivery.webhook, delivery.repository].append(delivery.number)
            if step == "bury":
                queue.bury(delivery, "no", now=now)
            else:
                queue.delivered(delivery, now=now)


def drain(queue: EventQueue) -> None:
    """Deliver until nothing is due any more: whatever waits comes to its turn."""
    while due := [*all_due(queue, "one"), *all_due(queue, "two")]:
        for delivery in due:
            queue.delivered(delivery, now=1e9)


def all_due(queue: EventQueue, webhook: str) -> list[Delivery]:
    return queue.due(webhook, now=1e9, busy=(), limit=9)
