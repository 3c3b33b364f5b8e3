"""The queue on disk: once in, in order, bounded, and shared by processes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from registry.errors import RegistryStartError
from registry.events.queue import FILE, EventQueue
from registry.events.records import Delivery
from registry.events.settings import EventKind, WebhookSettings
from registry.outbox import Change
from tests.registry.events.couriers import FakeIndex, Post, post


def hook(name: str = "hook", **more: object) -> WebhookSettings:
    return WebhookSettings(name, "https://r.example.com/hook", **more)  # type: ignore[arg-type]


def heads(mail: Post, name: str = "hook", *busy: str) -> list[Delivery]:
    return mail.queue.due(name, now=1e12, busy=set(busy), limit=100)


def test_an_event_is_queued_once_for_each_webhook_that_wants_it(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        mail.index.say("team/a", "1")
        mail.index.say("b", "1")
        mail.index.say("b", "", Change.DELETE)
        webhooks = (
            hook("all"),
            hook("team", repositories=("team/*",)),
            hook("deletes", events=(EventKind.DELETE,)),
        )
        follower = mail.follower(*webhooks)
        assert follower.catch_up() == 5
        assert mail.follower(*webhooks).catch_up() == 0
        pending = {it.name: it.pending for it in mail.queue.standings()}
        assert pending == {"all": 3, "team": 1, "deletes": 1}
        assert follower.position == 3


def test_of_two_processes_one_takes_a_batch(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        other = EventQueue(tmp_path)
        assert mail.queue.append([], after=0, position=3, now=0, limits={})
        assert not other.append([], after=0, position=3, now=0, limits={})
        other.close()


def test_one_event_of_a_repository_at_a_time(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        for repository, tag in (("a", "1"), ("b", "1"), ("a", "2")):
            mail.index.say(repository, tag)
        mail.follower(hook()).catch_up()
        first, second = heads(mail)
        assert (first.repository, second.repository) == ("a", "b")
        assert heads(mail, "hook", "a", "b") == []
        assert [it.repository for it in heads(mail, "hook", "a")] == ["b"]
        mail.queue.failed(first, "no", due=2e12)
        assert [it.repository for it in heads(mail)] == ["b"], "the next one waits behind it"
        assert mail.queue.next_due("hook", busy={"b"}) == 2e12
        mail.queue.bury(first, "no", now=0)
        (third,) = heads(mail, "hook", "b")
        assert (third.repository, third.number) == ("a", 3)
        mail.queue.delivered(third, now=0)
        mail.queue.delivered(second, now=0)
        assert heads(mail) == []
        assert mail.queue.next_due("hook", busy=()) is None


def test_beyond_the_limit_dead_events_go_first_then_the_oldest(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        for number in range(4):
            mail.index.say("a", str(number))
        follower = mail.follower(hook(limit=4))
        follower.catch_up()
        (first,) = heads(mail)
        mail.queue.delivered(first, now=0)
        (second,) = heads(mail)
        mail.queue.bury(second, "no", now=0)
        mail.index.say("a", "4")
        follower.catch_up()
        assert mail.standing().dead == 1
        mail.index.say("a", "5")
        follower.catch_up()
        assert (mail.standing().dead, mail.standing().dropped) == (0, 1)
        for number in range(6, 12):
            mail.index.say("a", str(number))
        follower.catch_up()
        assert (mail.standing().pending, mail.standing().dropped) == (4, 7)
        assert [it.number for it in heads(mail)] == [9]


def test_a_lane_whose_events_were_dropped_is_forgotten(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        mail.index.say("a", "1")
        mail.follower(hook()).catch_up()
        assert mail.queue.drop(None, webhook="other", dead=False) == 0
        assert mail.queue.drop(None, webhook="hook", dead=False) == 1
        assert heads(mail) == []
        assert mail.queue.next_due("hook", busy=()) is None


def test_retried_events_are_as_new_and_come_first(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        mail.index.say("a", "1")
        mail.index.say("a", "2")
        mail.follower(hook()).catch_up()
        (first,) = heads(mail)
        mail.queue.bury(first, "no", now=5)
        assert mail.queue.retry([first.number, 99], webhook=None, now=7) == 1
        (again,) = heads(mail)
        assert (again.number, again.attempts, again.since, again.dead) == (1, 0, 7, None)


def test_an_index_that_was_made_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    with post(tmp_path) as mail:
        for number in range(3):
            mail.index.say("a", str(number))
        mail.follower(hook()).catch_up()
        again = Post(mail.queue, FakeIndex())
        again.index.say("b", "1")
        follower = again.follower(hook())
        assert follower.position == 0, "none of its events may be dropped from the outbox yet"
        assert follower.catch_up() == 1
        assert [it.repository for it in heads(mail)] == ["a", "b"]


def test_a_queue_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(RegistryStartError, match="format 3"):
        EventQueue(tmp_path)


def test_a_damaged_queue_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 400)
    with pytest.raises(RegistryStartError, match="not a database") as caught:
        EventQueue(tmp_path)
    assert caught.value.fix is not None
    assert "move it away" in caught.value.fix
