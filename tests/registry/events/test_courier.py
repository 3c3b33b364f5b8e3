"""How events reach receivers that fail, dawdle, move or are gone."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.events.settings import WebhookSettings
from tests.registry.events.couriers import Post, post, webhook
from tests.registry.events.receiving import Inbox, Received, Reply, receiver
from tests.registry.running import certificate
from tests.waiting import eventually


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[Post]:
    with post(tmp_path) as made:
        yield made


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with receiver() as made:
        yield made


def test_failures_are_tried_again_in_the_order_of_their_repository(
    mail: Post, inbox: Inbox
) -> None:
    failures = {"a:1": [500, 404, 302], "b:2": [429]}

    def reply(request: Received) -> Reply:
        left = failures.get(request.subject)
        return (left.pop(), {}) if left else (200, {})

    inbox.reply = reply
    for number in (1, 2, 3):
        mail.index.say("a", str(number))
        mail.index.say("b", str(number))
    with mail.courier(webhook(inbox)):
        eventually(lambda: mail.standing().delivered == 6)
    for name in "ab":
        seen = [subject for subject in inbox.subjects() if subject.startswith(name)]
        assert list(dict.fromkeys(seen)) == [f"{name}:{number}" for number in (1, 2, 3)]
        assert seen == sorted(seen)
    assert (mail.standing().failed, mail.standing().pending) == (4, 0)
    ids = [it.headers["webhook-id"] for it in inbox.requests if it.subject == "a:1"]
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_after_the_last_attempt_an_event_is_dead_and_the_next_goes_on(
    mail: Post, inbox: Inbox
) -> None:
    inbox.reply = lambda it: (500 if it.subject == "a:1" else 200, {})
    mail.index.say("a", "1")
    mail.index.say("a", "2")
    with mail.courier(webhook(inbox, attempts=2)):
        eventually(lambda: mail.standing().delivered == 1)
        assert inbox.subjects() == ["a:1", "a:1", "a:2"]
        (dead,) = mail.queue.listed(dead=True, webhook=None, limit=10)
        assert (dead.attempts, dead.error, dead.repository) == (2, "status 500", "a")
        assert mail.standing().died == 1
        inbox.reply = lambda _: (200, {})
        assert mail.queue.retry([dead.number], webhook=None, now=0.0) == 1
        # What is done by the same connection wakes nobody; a command has one of its own.
        mail.index.say("b", "1")
        eventually(lambda: mail.standing().delivered == 3)
    assert mail.standing().dead == 0


def test_an_event_that_is_too_old_is_dead_by_its_next_failure(mail: Post, inbox: Inbox) -> None:
    inbox.reply = lambda _: (500, {})
    mail.index.say("a", "1")
    with mail.courier(webhook(inbox, expiry=1e-6)):
        eventually(lambda: mail.standing().dead == 1)
    assert len(inbox.requests) == 1


def test_a_receiver_that_is_gone_is_left_alone_until_the_next_courier(
    mail: Post, inbox: Inbox
) -> None:
    inbox.reply = lambda _: (410, {})
    mail.index.say("a", "1")
    with receiver() as other, mail.courier(webhook(inbox), webhook(other, "other")):
        eventually(lambda: mail.standing().gone is not None)
        mail.index.say("b", "2")
        eventually(lambda: mail.standing("other").delivered == 2)
        assert len(inbox.requests) == 1
        assert mail.standing().pending == 2
    inbox.reply = lambda _: (200, {})
    with mail.courier(webhook(inbox)):
        eventually(lambda: mail.standing().delivered == 2)
    assert mail.standing().gone is None


def test_who_asks_to_be_left_alone_is(mail: Post, inbox: Inbox) -> None:
    """Retry-After holds for the receiver, not only for the event that was answered so."""
    inbox.reply = lambda _: (503, {"Retry-After": "3600"})
    mail.index.say("a", "1")
    with receiver() as other, mail.courier(webhook(inbox), webhook(other, "other")):
        eventually(lambda: mail.standing().failed == 1)
        mail.index.say("b", "2")
        eventually(lambda: mail.standing("other").delivered == 2)
        assert inbox.subjects() == ["a:1"]
    now = inbox.requests[0].moment
    assert mail.queue.due("hook", now=now + 3500, busy={"b"}, limit=9) == []
    assert len(mail.queue.due("hook", now=now + 3700, busy={"b"}, limit=9)) == 1


def test_a_slow_receiver_delays_only_itself(mail: Post, inbox: Inbox) -> None:
    answer = threading.Event()

    def reply(_: Received) -> Reply:
        answer.wait(240)
        return 200, {}

    inbox.reply = reply
    for number in range(20):
        mail.index.say(f"r{number}", "1")
    with (
        receiver() as other,
        mail.courier(webhook(inbox, parallel=3, timeout=240.0), webhook(other, "other")),
    ):
        eventually(lambda: mail.standing("other").delivered == 20)
        eventually(lambda: len(inbox.requests) >= 3)
        assert len(inbox.requests) == 3, "no more than it may have at once"
        answer.set()
        eventually(lambda: mail.standing().delivered == 20)


def test_a_receiver_that_never_answers_is_given_up(mail: Post, inbox: Inbox) -> None:
    answer = threading.Event()

    def reply(_: Received) -> Reply:
        answer.wait(20)
        return 200, {}

    inbox.reply = reply
    mail.index.say("a", "1")
    with mail.courier(webhook(inbox, timeout=0.1, attempts=2)):
        eventually(lambda: mail.standing().dead == 1)
    answer.set()
    assert mail.standing().error == "no answer within 0.1 s"


def test_a_redirect_is_a_failure_and_nothing_goes_there(mail: Post, inbox: Inbox) -> None:
    with receiver() as other:
        inbox.reply = lambda _: (307, {"Location": other.url})
        mail.index.say("a", "1")
        with mail.courier(webhook(inbox, attempts=1)):
            eventually(lambda: mail.standing().dead == 1)
        assert other.requests == []
    assert mail.standing().error == "status 307, and redirects are not followed"


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(mail: Post, tmp_path: Path, trusted: bool) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with receiver(context=context) as inbox:
        mail.index.say("a", "1")
        with mail.courier(webhook(inbox, attempts=1, ca=cert if trusted else None)):
            eventually(lambda: mail.standing().pending == 0 and mail.index.newest())
            eventually(lambda: mail.standing().delivered + mail.standing().dead)
        assert len(inbox.requests) == trusted
    assert mail.standing().dead == (not trusted)
    if not trusted:
        assert "CERTIFICATE_VERIFY_FAILED" in mail.standing().error


def test_errors_do_not_show_the_path_of_a_url(mail: Post) -> None:
    nowhere = WebhookSettings("hook", "http://localhost:9/secret-path", attempts=1)
    mail.index.say("a", "1")
    with mail.courier(nowhere):
        eventually(lambda: mail.standing().dead == 1)
    assert "localhost:9" in mail.standing().error
    assert "secret-path" not in mail.standing().error
