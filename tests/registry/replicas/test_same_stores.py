"""Tests of the rooms' stores once more, over PostgreSQL: what holds for files holds there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.access.identity import Identity
from registry.access.personal import PersonalTokens, TooManyTokensError
from registry.access.refresh import Login, RefreshTokens
from registry.events.queue import EventQueue
from registry.notary.service import Notary
from registry.sql.stores import Stores
from registry.transparency.store import LogStore
from registry.vault import VARIABLE
from tests.registry import test_transparency
from tests.registry.events import couriers, test_queue
from tests.registry.notary import conftest as notaries
from tests.registry.notary import test_publishing, test_service
from tests.registry.notary.conftest import Clock
from tests.registry.replicas.servers import Replicas

pytestmark = pytest.mark.peer

test_events_once = test_queue.test_an_event_is_queued_once_for_each_webhook_that_wants_it
test_events_of_two_processes = test_queue.test_of_two_processes_one_takes_a_batch
test_events_in_order = test_queue.test_one_event_of_a_repository_at_a_time
test_events_are_bounded = test_queue.test_beyond_the_limit_dead_events_go_first_then_the_oldest
test_lanes = test_queue.test_a_lane_whose_events_were_dropped_is_forgotten
test_retried_events = test_queue.test_retried_events_are_as_new_and_come_first
test_another_index = test_queue.test_an_index_that_was_made_anew_is_followed_from_its_beginning

test_one_log = test_transparency.test_two_processes_append_each_event_once
test_the_logs_name = test_transparency.test_a_log_keeps_its_name_and_key

test_published = test_publishing.test_what_is_published_is_believed_by_a_fresh_client
test_bytes_as_they_came = test_publishing.test_uploaded_bytes_are_served_as_they_came
test_every_root = test_publishing.test_every_version_of_the_root_is_kept
test_keys_stay = test_service.test_a_key_is_made_once_and_then_stays
test_rotated_keys = test_service.test_a_rotated_key_counts_once_a_root_names_it
test_deleted = test_service.test_a_deleted_collection_is_gone_with_its_keys
test_changefeed = test_service.test_the_changefeed_reads_forwards_and_backwards

clock = notaries.clock
publisher = notaries.publisher

ADA, BOB = Identity.parse("user:ada"), Identity.parse("user:bob")


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch, replicas: Replicas) -> None:
    """Stores of the tests are those of replicas, each with connections of its own."""

    def queue(root: Path) -> EventQueue:
        return EventQueue(root, replicas.stores())

    for module in (couriers, test_queue):
        monkeypatch.setattr(module, "EventQueue", queue)
    log = lambda root: LogStore(root, replicas.stores())  # noqa: E731 -- a name would say no more
    monkeypatch.setattr(test_transparency, "LogStore", log)


@pytest.fixture
def notary(replicas: Replicas, tmp_path: Path, clock: Clock) -> Iterator[Notary]:
    files = replicas.files().root / "notary"
    environ = {VARIABLE: "a passphrase"}
    found = Notary.open(tmp_path, files=files, stores=replicas.stores(), environ=environ, now=clock)
    yield found
    found.close()


@pytest.fixture(params=["file", "database"])
def stores(request: pytest.FixtureRequest) -> Stores | None:
    """Where tokens are kept."""
    return request.getfixturevalue("replicas").stores() if request.param == "database" else None


def test_a_refresh_token_that_one_process_revoked_is_over_for_all(
    tmp_path: Path, stores: Stores | None
) -> None:
    here, there = (RefreshTokens(tmp_path / "tokens.db", stores) for _ in range(2))
    issue = partial(here.issue, service="registry", client="docker", now=1000.0, lifetime=100.0)
    token, other = issue(Login(ADA, "c")), issue(Login(BOB, "d"))
    assert there.find(token, service="registry", now=1001.0) == Login(ADA, "c")
    assert there.find(token, service="another", now=1001.0) is None
    assert there.find(token, service="registry", now=1100.0) is None
    assert here.revoke(ADA) == 1
    assert there.find(token, service="registry", now=1001.0) is None
    assert there.find(other, service="registry", now=1001.0) == Login(BOB, "d")
    for one in (here, there):
        one.close()


def test_one_login_has_so_many_refresh_tokens(tmp_path: Path, stores: Stores | None) -> None:
    tokens = RefreshTokens(tmp_path / "tokens.db", stores)
    made = [
        tokens.issue(Login(ADA, "c"), service="r", client="", now=1000.0 + n, lifetime=1e6)
        for n in range(103)
    ]
    good = [tokens.find(token, service="r", now=2000.0) is not None for token in made]
    assert good == [False] * 3 + [True] * 100
    tokens.close()


def test_a_personal_token_that_one_process_revoked_is_over_for_all(
    tmp_path: Path, stores: Stores | None
) -> None:
    here, there = (PersonalTokens.at(tmp_path / "personal.db", stores) for _ in range(2))
    secret = here.issue(ADA, "c", label="laptop", now=1000.0, lifetime=100.0).encode()
    found = there.find(secret, now=1001.0)
    assert found is not None
    assert (found.identity, found.label, found.expires) == (ADA, "laptop", 1100)
    assert here.of(ADA, now=1002.0)[0].used == 1001
    assert there.get(found.id, now=1001.0) is not None
    assert not here.revoke(BOB, found.id)
    assert here.revoke(ADA, found.id)
    assert there.find(secret, now=1001.0) is None
    assert there.get(found.id, now=1001.0) is None
    for one in (here, there):
        one.close()


def test_personal_tokens_of_one_person_are_few(tmp_path: Path, stores: Stores | None) -> None:
    tokens = PersonalTokens.at(tmp_path / "personal.db", stores)
    for _ in range(50):
        tokens.issue(ADA, "c", label="", now=1000.0, lifetime=100.0)
    with pytest.raises(TooManyTokensError):
        tokens.issue(ADA, "c", label="", now=1000.0, lifetime=100.0)
    assert tokens.revoke_all(ADA) == 50
    tokens.close()
