"""``lading registry events`` and the metrics, beside a registry that serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.registry.events.receiving import receiver
from tests.registry.events.test_service import push, webhook
from tests.registry.service_kit import PROJECT, service
from tests.waiting import eventually


def run(folder: Path, *arguments: str) -> str:
    """The output of ``lading registry events`` with the configuration in ``folder``."""
    command, *more = arguments
    file = str(folder / "registry.toml")
    argv = [sys.executable, "-m", "lading", "registry", "events", command, "-c", file, *more]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(folder: Path, *arguments: str) -> Any:
    return json.loads(run(folder, *arguments, "--format", "json"))


def test_dead_events_are_seen_and_sent_again(tmp_path: Path) -> None:
    with receiver() as inbox:
        inbox.reply = lambda it: (500 if it.subject == "app:1" else 204, {})
        config = webhook(inbox, events='["tag"]', attempts=1)
        with service(tmp_path, config) as found:
            push(found, "app", "1")
            push(found, "app", "2")
            eventually(lambda: found.metric('events_delivered_total{webhook="hook"}') == 1)
            for name, value in (("died_total", 1), ("failed_total", 1), ("dead", 1)):
                assert found.metric(f"events_{name}") == value
            assert found.metric("events_pending") == found.metric("events_gone") == 0

            (status,) = ask(tmp_path, "status")
            shown = {key: status[key] for key in ("name", "state", "pending", "dead", "address")}
            assert shown == {
                "name": "hook",
                "state": "active",
                "pending": 0,
                "dead": 1,
                "address": inbox.url.removesuffix("/hook"),
            }
            (dead,) = ask(tmp_path, "dead")
            assert (dead["event"]["subject"], dead["error"]) == ("app:1", "status 500")
            number = str(dead["number"])
            assert f"{number} " in run(tmp_path, "dead", "--webhook", "hook")
            assert ask(tmp_path, "list") == []

            inbox.reply = lambda _: (204, {})
            assert run(tmp_path, "retry", number) == "events to be sent again: 1\n"
            eventually(lambda: inbox.subjects() == ["app:1", "app:2", "app:1"])
            eventually(lambda: ask(tmp_path, "status")[0]["delivered"] == 2)
        assert "hook" in run(tmp_path, "status")


def test_events_are_dropped_by_choice(tmp_path: Path) -> None:
    with receiver() as inbox:
        inbox.reply = lambda _: (500, {})
        with service(tmp_path, webhook(inbox, attempts=1)) as found:
            push(found, "app", "1")
            eventually(lambda: found.metric("events_dead") == 2)
        assert ask(tmp_path, "drop", "--all", "--waiting") == {"events": 0}
        assert ask(tmp_path, "drop", "--all", "--webhook", "other") == {"events": 0}
        assert ask(tmp_path, "drop", "--all") == {"events": 2}
        assert ask(tmp_path, "dead") == []


def test_a_registry_without_webhooks_has_nothing_to_show(tmp_path: Path) -> None:
    with service(tmp_path) as found:
        push(found, "app", "1")
        assert ask(tmp_path, "status") == ask(tmp_path, "list") == ask(tmp_path, "dead") == []
        assert ask(tmp_path, "retry", "--all") == {"events": 0}
        assert found.metric("events_pending") == 0
    assert not list((tmp_path / "store").glob("events.*"))
