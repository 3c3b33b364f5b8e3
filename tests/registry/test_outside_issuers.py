"""Tokens of outside issuers, shown to a registry that really asks a server for keys."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.access.control import AccessControl
from registry.access.denials import deny, permit
from registry.access.scopes import parse_scopes
from registry.access.settings import AccessSettings, Effect
from registry.access.snapshot import Places, take_snapshot
from registry.access.throttle import Patience
from registry.protocols import Access
from registry.workers import Workers
from tests.registry.access_kit import (
    FakeCaller,
    ask_token,
    basic,
    bearer,
    post_form,
    rule,
    users_file,
)
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Answer, Client
from tests.registry.oidc_kit import OutsideIssuer, outside_issuer

ME = "outside:ci/repo:our-org/app:ref:refs/heads/main"
PULL = "repository:app:pull"
PULLS = {"type": "repository", "name": "app", "actions": ["pull"]}


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[OutsideIssuer]:
    with outside_issuer(tmp_path) as started:
        yield started


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)


def settings(issuer: OutsideIssuer, **changes: object) -> AccessSettings:
    rules = (
        rule("app", "pull,push", outside=("ci/repo:our-org/app:*",)),
        rule("tools", "pull", groups=("ci/builders",)),
        rule("mine/**", "pull", users=("*",)),
    )
    return AccessSettings(rules=rules, issuer=(issuer.settings(**changes),))


async def exchange(client: Client, token: str, *scopes: str) -> Answer:
    return await ask_token(client, *scopes or (PULL,), headers=basic("jwt", token))


def granted(answer: Answer) -> list[dict[str, object]]:
    body = answer.json["token"].split(".")[1]
    entries = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["access"]
    return list(entries)


def reason(answer: Answer) -> str:
    assert answer.status == 401, answer
    return str(answer.json["errors"][0]["message"])


async def test_a_workload_exchanges_its_token_and_pushes(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    client = await start(access=settings(issuer))
    answer = await exchange(
        client, issuer.token(), "repository:app:pull,push,delete", "repository:tools:pull,push"
    )
    assert granted(answer) == [
        {"type": "repository", "name": "app", "actions": ["pull", "push"]},
        {"type": "repository", "name": "tools", "actions": ["pull"]},
    ]
    client.headers.update(bearer(answer.json["token"]))
    await client.push_image("app", "1")
    assert (await client.send("GET", "/v2/app/manifests/1")).status == 200


async def test_users_by_star_are_not_outside_people(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    """A rule that was written for users lets nobody in whom somebody else vouches for."""
    client = await start(access=settings(issuer))
    assert granted(await exchange(client, issuer.token(), "repository:mine/a:pull")) == []
    without_rules = await start(access=AccessSettings(issuer=(issuer.settings(),)))
    assert granted(await exchange(without_rules, issuer.token())) == []


async def test_basic_and_oauth_take_it_too(start: StartRegistry, issuer: OutsideIssuer) -> None:
    client = await start(access=settings(issuer))
    headers = basic("oauth2accesstoken", issuer.token())
    assert (await client.send("GET", "/v2/app/manifests/1", headers=headers)).status == 404
    form = [("grant_type", "password"), ("username", "jwt"), ("password", issuer.token())]
    answer = await post_form(client, [*form, ("scope", PULL), ("access_type", "offline")])
    assert answer.status == 200
    assert "refresh_token" not in answer.json, "the issuer says how long, and not we"


async def test_ours_ends_with_theirs(start: StartRegistry, issuer: OutsideIssuer) -> None:
    client = await start(access=settings(issuer))
    answer = await exchange(client, issuer.token(exp=int(time.time()) + 30))
    assert answer.json["expires_in"] <= 90
    answer = await ask_token(client, headers=basic("x", issuer.token()), offline_token="true")
    assert "refresh_token" not in answer.json


async def test_an_access_claim_grants_what_rules_allow(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    client = await start(access=settings(issuer))
    more = {**PULLS, "name": "other"}
    headers = bearer(issuer.token(access=[PULLS, more]))
    assert (await client.send("GET", "/v2/app/manifests/1", headers=headers)).status == 404
    for path in ("/v2/other/manifests/1", "/v2/tools/manifests/1"):
        assert (await client.send("GET", path, headers=headers)).status == 401
    upload = await client.send("POST", "/v2/app/blobs/uploads/", headers=headers)
    assert upload.status == 401, "the rules would allow it, the token does not"


async def test_an_access_claim_may_decide_alone_but_for_denials(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    denial = rule("secret/**", "*", outside=("ci/*",), effect=Effect.DENY)
    access = AccessSettings(rules=(denial,), issuer=(issuer.settings(grants=True),))
    client = await start(access=access)
    entries = [{**PULLS, "name": name} for name in ("any/thing", "secret/a")]
    headers = bearer(issuer.token(access=entries))
    assert (await client.send("GET", "/v2/any/thing/tags/list", headers=headers)).status == 404
    assert (await client.send("GET", "/v2/secret/a/tags/list", headers=headers)).status == 401
    assert granted(await exchange(client, issuer.token(access=entries))) == []


async def test_a_token_server_elsewhere(start: StartRegistry, issuer: OutsideIssuer) -> None:
    """Clients are sent there, and its tokens for nobody in particular are taken."""
    realm = f"{issuer.url}/auth"
    access = AccessSettings(issuer=(issuer.settings(grants=True, realm=realm, subjects=("*",)),))
    client = await start(access=access)
    challenge = (await client.send("GET", "/v2/")).headers["WWW-Authenticate"]
    assert challenge == f'Bearer realm="{realm}",service="lading"'
    headers = bearer(issuer.token(sub="", access=[PULLS]))
    assert (await client.send("GET", "/v2/app/manifests/1", headers=headers)).status == 404
    assert "no subject" in reason(await exchange(client, issuer.token(sub="", access=[PULLS])))


async def test_without_an_access_claim_it_has_to_be_exchanged(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    client = await start(access=settings(issuer))
    answer = await client.send("GET", "/v2/app/manifests/1", headers=bearer(issuer.token()))
    assert "show it as a password" in reason(answer)


async def test_the_deny_list_ends_what_was_given(
    start: StartRegistry, issuer: OutsideIssuer, tmp_path: Path
) -> None:
    """A subject or one token, for theirs and for ours that was given for it."""
    client = await start(access=settings(issuer))
    denied = tmp_path / "registry" / "access" / "denied"
    direct, given = issuer.token(access=[PULLS]), await exchange(client, issuer.token())

    async def statuses() -> list[int]:
        kinds = (bearer(direct), bearer(given.json["token"]), basic("jwt", direct))
        path = "/v2/app/manifests/1"
        return [(await client.send("GET", path, headers=kind)).status for kind in kinds]

    assert await statuses() == [404, 404, 404]
    for entry in (ME, "token:ci/j1"):
        await asyncio.to_thread(deny, denied, entry)
        assert await statuses() == [401, 401, 401], entry
        assert "the deny list names" in reason(await exchange(client, direct))
        await asyncio.to_thread(permit, denied, entry)
        assert await statuses() == [404, 404, 404]


async def test_users_of_our_own_can_be_denied(start: StartRegistry, tmp_path: Path) -> None:
    users = users_file(tmp_path / "htpasswd", "ada")
    client = await start(access=AccessSettings(users))
    token = await ask_token(client, PULL, headers=basic("ada"))
    await asyncio.to_thread(deny, tmp_path / "registry" / "access" / "denied", "user:ada")
    for headers in (basic("ada"), bearer(token.json["token"])):
        assert (await client.send("GET", "/v2/app/manifests/1", headers=headers)).status == 401


async def test_a_key_that_its_issuer_took_back_ends_tokens_shown_as_they_are(
    start: StartRegistry, issuer: OutsideIssuer
) -> None:
    client = await start(access=settings(issuer, keys_refresh=0.2))
    headers = bearer(issuer.token(access=[PULLS]))
    assert (await client.send("GET", "/v2/app/manifests/1", headers=headers)).status == 404
    await asyncio.to_thread(issuer.rotate)
    await asyncio.sleep(0.3)
    answer = await client.send("GET", "/v2/app/manifests/1", headers=headers)
    assert "a key that its issuer does not have" in reason(answer)


async def test_sources_come_and_go_with_the_configuration(
    issuer: OutsideIssuer, tmp_path: Path
) -> None:
    """Those that stay keep the keys they know; tokens given for one that went are over."""
    places = Places(tmp_path / "root", settings(issuer))
    snapshot = await asyncio.to_thread(take_snapshot, places, now=time.time())
    workers = Workers()
    control = AccessControl(snapshot, workers, Patience())
    login = await control.login(FakeCaller(), "jwt", issuer.token().encode())
    given = control.grants.issue(login, parse_scopes([PULL]), ())
    caller = FakeCaller(f"Bearer {given.token}")
    assert await control.permits(caller, Access("pull", "app"))
    await control.reload(settings(issuer))
    assert await control.permits(caller, Access("pull", "app"))
    await control.login(FakeCaller(), "jwt", issuer.token().encode())
    assert issuer.asked == 1
    await control.reload(AccessSettings(rules=(rule("app", "pull", users=("*",)),)))
    assert not await control.permits(caller, Access("pull", "app"))
    await asyncio.to_thread(control.close)
    await asyncio.to_thread(workers.close)


async def test_several_wait_for_one_request(start: StartRegistry, issuer: OutsideIssuer) -> None:
    client = await start(access=settings(issuer))
    issuer.delay = 0.2
    answers = await asyncio.gather(*(exchange(client, issuer.token()) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert issuer.asked == 1


async def test_a_silent_issuer_is_said(start: StartRegistry, issuer: OutsideIssuer) -> None:
    client = await start(access=settings(issuer))
    issuer.status = 500
    assert "answers 500" in reason(await exchange(client, issuer.token()))
