"""Pulls as events: for whom, how often, how many, and never at the cost of anybody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry.errors import RegistryConfigError
from registry.events import pulls as module
from registry.events.pulls import Pulls
from registry.events.settings import CHANGES, EventKind, EventSettings, WebhookSettings
from registry.index import SqliteIndex
from registry.outbox import Change, Outbox, read_events
from registry.rules import repository_matcher
from tests.registry.events.receiving import receiver
from tests.registry.events.test_service import OCI, push, webhook
from tests.registry.kit import manifest
from tests.registry.service_kit import call, service
from tests.registry.test_reload import reload
from tests.waiting import eventually


def test_pulls_are_told_to_who_asks(tmp_path: Path) -> None:
    source = '[events]\nsource = "https://registry.example.com"\n'
    with receiver() as inbox, receiver() as other:
        config = source + webhook(inbox, events='["pull"]', repositories='["team/*"]')
        config += webhook(other, "changes") + "[transparency]\nenabled = true\n"
        with service(tmp_path, config, workers=1) as found:
            digest = push(found, "team/app", "1")
            push(found, "elsewhere", "1")
            for path in (
                "team/app/manifests/1",
                f"team/app/manifests/{digest}",
                "elsewhere/manifests/1",
            ):
                for method in ("HEAD", "GET", "GET"):
                    assert call(found.port, method, f"/v2/{path}")[0] == 200
            assert call(found.port, "GET", "/v2/team/app/manifests/none")[0] == 404
            eventually(lambda: len(inbox.requests) >= 2)
            eventually(lambda: len(other.requests) >= 4)
            assert sorted(inbox.subjects()) == ["team/app:1", f"team/app@{digest}"]
            event = next(it.event for it in inbox.requests if it.subject == "team/app:1")
            assert event["type"] == "dev.lading.registry.manifest.pulled"
            assert event["data"] == {
                "repository": "team/app",
                "tag": "1",
                "digest": digest,
                "mediaType": OCI["Content-Type"],
                "size": len(manifest(config=b"{}")),
                "url": f"https://registry.example.com/v2/team/app/manifests/{digest}",
            }
            assert not other.subjects("pulled")
            # The log of changes goes past them.
            head = call(found.port, "GET", "/v2/_lading/log/checkpoint")[2]
            assert head.splitlines()[1] == b"2"
            (tmp_path / "registry.toml").write_text(
                (tmp_path / "registry.toml").read_text().replace('["pull"]', '["tag"]')
            )
            reload(found)
            assert call(found.port, "GET", "/v2/team/app/manifests/1")[0] == 200
            push(found, "team/app", "2", b"{ }")
            eventually(lambda: "team/app:2" in inbox.subjects("tag.set"))
            assert len(inbox.subjects("pulled")) == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(index: SqliteIndex) -> list[tuple[str, str]]:
    return [
        (event.repository, event.actor)
        for event in read_events(index.reader(), after=0)
        if event.change is Change.PULL
    ]


def test_the_same_pull_is_one_event_for_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    index = SqliteIndex(tmp_path, outbox=Outbox(followed=True))
    clock = Clock()
    pulls = Pulls(index, [repository_matcher("a*")], 10.0, clock=clock)

    def pull(repository: str, actor: str = "") -> None:
        pulls.note(repository, "1", "sha256:" + "0" * 64, actor)

    pull("a")
    pull("a")
    pull("a", "user:ada")
    pull("b")
    asyncio.run(pulls.write())
    assert told(index) == [("a", ""), ("a", "user:ada")]
    clock.now = 9.0
    pull("a")
    pull("a1")
    pull("a2")  # one too many
    assert pulls.dropped == 1
    asyncio.run(pulls.write())
    assert told(index)[2:] == [("a1", "")]
    clock.now = 10.0
    asyncio.run(pulls.write())
    pull("a")
    pull("a2")
    asyncio.run(pulls.write())
    assert told(index)[3:] == [("a", ""), ("a2", "")]
    index.close()


async def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    index = await asyncio.to_thread(SqliteIndex, tmp_path, outbox=Outbox(followed=True))
    pulls = Pulls(index, [repository_matcher("**")], 10.0)
    task = asyncio.create_task(pulls.run())
    await asyncio.sleep(0)
    pulls.note("a", "1", "sha256:" + "0" * 64, "")
    task.cancel()
    await asyncio.wait([task])
    assert await asyncio.to_thread(told, index) == [("a", "")]
    await asyncio.to_thread(index.close)


def test_pulls_are_no_default_and_have_a_least_interval() -> None:
    assert EventKind.PULL not in WebhookSettings("a", "https://a.example").events
    assert set(CHANGES) == set(EventKind) - {EventKind.PULL}
    with pytest.raises(RegistryConfigError, match="once a second"):
        EventSettings(pull_interval=0.5)
