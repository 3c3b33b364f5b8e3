"""kill -9 of whole services while clients push and the receiver fails: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.registry.events.receiving import Received, Reply, receiver
from tests.registry.events.test_service import push, webhook
from tests.registry.service_kit import Service, service
from tests.waiting import eventually

ROUNDS = 6
REPOSITORIES = ("a", "b")


@pytest.mark.slow
def test_every_acknowledged_tag_arrives_in_order(tmp_path: Path) -> None:
    chance = random.Random(7)
    pushed: dict[str, list[str]] = defaultdict(list)

    def reply(_: Received) -> Reply:
        return chance.choice([200, 200, 500]), {}

    with receiver() as inbox:
        inbox.reply = reply
        config = webhook(inbox, events='["tag"]', attempts=1000)
        for number in range(ROUNDS):
            with service(tmp_path, config) as found:
                pushing = [
                    threading.Thread(target=keep_pushing, args=(found, name, number, pushed[name]))
                    for name in REPOSITORIES
                ]
                for thread in pushing:
                    thread.start()
                time.sleep(chance.uniform(0.5, 2))
                # However slow the machine is: a round in which nothing was pushed proves nothing.
                eventually(
                    lambda number=number: all(  # type: ignore[misc]
                        pushed[name] and pushed[name][-1].startswith(f"{name}:{number}-")
                        for name in REPOSITORIES
                    )
                )
                for pid in (*found.workers(), found.pid):
                    os.kill(pid, signal.SIGKILL)
                for thread in pushing:
                    thread.join()
        inbox.reply = lambda _: (200, {})
        with service(tmp_path, config):
            wanted = {subject for subjects in pushed.values() for subject in subjects}
            assert len(wanted) > ROUNDS
            eventually(lambda: wanted <= set(inbox.subjects()), 200)
    for name in REPOSITORIES:
        seen = [it for it in dict.fromkeys(inbox.subjects()) if it.startswith(f"{name}:")]
        # A push whose answer never came may have happened, too.
        assert [it for it in seen if it in wanted] == pushed[name]


def keep_pushing(found: Service, repository: str, number: int, done: list[str]) -> None:
    """Push tag after tag until the service is gone; ``done`` gets what was acknowledged."""
    with suppress(OSError, HTTPException, AssertionError):
        for count in range(1000):
            push(found, repository, f"{number}-{count}")
            done.append(f"{repository}:{number}-{count}")
