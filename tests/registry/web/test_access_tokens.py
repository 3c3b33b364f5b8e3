"""Access tokens that people make on the pages: who may, what they are worth, and how they end."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.access.identity import Identity, Kind
from registry.access.passwords import fingerprint, set_password
from registry.access.personal import MOST, PersonalTokens, TooManyTokensError
from registry.access.robots import create_robot, parse_permission
from registry.access.settings import AccessSettings, TokenSettings
from tests.registry.access_kit import ask_token, basic, bearer, post_form, rule, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client
from tests.registry.service_kit import call, service
from tests.registry.web.webkit import Browser, parse
from tests.waiting import eventually

ADA = Identity(Kind.USER, "ada")


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)
    monkeypatch.setattr("registry.access.control.LOOK_SECONDS", 0.0)


@pytest.fixture
def access(tmp_path: Path) -> AccessSettings:
    rules = (rule("{user}/**", "*", users=("*",)), rule("bots/**", "pull", robots=("*",)))
    return AccessSettings(users_file(tmp_path / "users", "ada", "bob"), rules=rules)


@pytest.fixture
async def client(start: StartRegistry, access: AccessSettings) -> Client:
    return await start(access=access)


async def logged_in(client: Client, user: str) -> Browser:
    visitor = Browser(client)
    assert (await visitor.log_in(user)).status == 303
    return visitor


async def new_token(visitor: Browser, label: str = "laptop", days: str = "30") -> str:
    form = (await visitor.get("/web/tokens")).one("form", **{"class": "login"})
    return parse(await visitor.submit(form, label=label, days=days)).one("code", id="token").text


async def test_a_token_may_what_its_owner_may(client: Client) -> None:
    visitor = await logged_in(client, "ada")
    token = await new_token(visitor)
    assert token.startswith("lading_personal_")
    for name in ("ada", "anybody"):
        answer = await client.send("GET", "/v2/ada/app/tags/list", headers=basic(name, token))
        assert answer.status == 404
    answer = await client.send("GET", "/v2/bob/app/tags/list", headers=basic("bob", token))
    assert answer.status == 403, "the token says whose it is, not the name beside it"
    scopes = ("repository:ada/app:pull,push", "repository:bob/app:pull")
    answer = await ask_token(client, *scopes, headers=basic("ada", token), offline_token="true")
    assert "refresh_token" not in answer.json
    ours = bearer(answer.json["token"])
    assert (await client.send("GET", "/v2/ada/app/tags/list", headers=ours)).status == 404
    assert (await client.send("GET", "/v2/bob/app/tags/list", headers=ours)).status == 401
    form = [("grant_type", "password"), ("username", "ada"), ("password", token)]
    assert (await post_form(client, form)).status == 200


async def test_taken_back_it_ends_with_all_that_was_given_for_it(client: Client) -> None:
    visitor = await logged_in(client, "ada")
    token, other = await new_token(visitor, "one"), await new_token(visitor, "two")
    answer = await ask_token(client, "repository:ada/app:pull", headers=basic("ada", token))
    ours = bearer(answer.json["token"])
    assert (await client.send("GET", "/v2/ada/app/tags/list", headers=ours)).status == 404
    page = await visitor.get("/web/tokens")
    rows = {row.one("th").text: row for row in page.one("tbody").all("tr")}
    assert set(rows) == {"one", "two"}
    await visitor.submit(rows["one"].one("form"))
    assert (await client.send("GET", "/v2/ada/app/tags/list", headers=ours)).status == 401
    assert (await ask_token(client, headers=basic("ada", token))).status == 401
    assert (await ask_token(client, headers=basic("ada", other))).status == 200


async def test_a_new_password_ends_it(client: Client, tmp_path: Path) -> None:
    token = await new_token(await logged_in(client, "ada"))
    assert (await ask_token(client, headers=basic("ada", token))).status == 200
    await asyncio.to_thread(set_password, tmp_path / "users", "ada", "another-one", new=False)
    refused = await ask_token(client, headers=basic("ada", token))
    assert refused.status == 401
    assert "another password" in refused.json["errors"][0]["message"]


async def test_it_opens_no_session_and_makes_no_tokens(client: Client) -> None:
    token = await new_token(await logged_in(client, "ada"))
    visitor = Browser(client)
    form = (await visitor.get("/web/login")).one("form", **{"class": "login"})
    answer = await visitor.submit(form, user="ada", password=token)
    assert answer.status == 403
    assert "for clients" in parse(answer).one("p", role="alert").text


async def test_nobody_reaches_the_tokens_of_others(client: Client) -> None:
    ada, bob = await logged_in(client, "ada"), await logged_in(client, "bob")
    token = await new_token(ada)
    page = await ada.get("/web/tokens")
    name = page.one("tbody").one("input", name="revoke").attrs["value"]
    assert "You have no tokens" in (await bob.get("/web/tokens")).text
    form = (await bob.get("/web/tokens")).one("form", **{"class": "login"})
    await bob.submit(form, revoke=name)
    assert (await ask_token(client, headers=basic("ada", token))).status == 200
    stolen = {"revoke": name, "token": page.all("input", name="token")[0].attrs["value"]}
    assert (await bob.post("/web/tokens", stolen)).status == 403
    assert (await ada.post("/web/tokens", stolen, Origin="https://evil.example")).status == 403
    assert (await Browser(client).send("GET", "/web/tokens")).status == 303


async def test_robots_make_none(client: Client, tmp_path: Path) -> None:
    robots = tmp_path / "registry" / "access" / "robots.json"
    permissions = [parse_permission("ci/**:pull")]
    make = lambda: create_robot(robots, "ci", permissions, now=time.time())  # noqa: E731
    secret = await asyncio.to_thread(make)
    visitor = Browser(client)
    form = (await visitor.get("/web/login")).one("form", **{"class": "login"})
    assert (await visitor.submit(form, user="ci", password=secret)).status == 303
    page = await visitor.get("/web/tokens")
    assert not page.all("form", **{"class": "login"})
    logout = page.one("form", action="/web/logout").one("input", name="token").attrs["value"]
    answer = await visitor.post("/web/tokens", {"token": logout, "label": "x", "days": "1"})
    assert answer.status == 403


@pytest.mark.parametrize("days", ["", "2", "-1", "1e9", "365", "٧"])
async def test_lives_that_are_not_offered(client: Client, days: str) -> None:
    visitor = await logged_in(client, "ada")
    form = (await visitor.get("/web/tokens")).one("form", **{"class": "login"})
    assert (await visitor.submit(form, label="x", days=days)).status == 400


async def test_a_registry_may_offer_none(start: StartRegistry, access: AccessSettings) -> None:
    client = await start(access=replace(access, tokens=TokenSettings(personal_lifetime=0.0)))
    page = await (await logged_in(client, "ada")).get("/web/tokens")
    assert "offers no access tokens" in page.text
    assert not page.all("form", **{"class": "login"})


@pytest.mark.parametrize(
    "token", ["lading_personal_", "lading_personal_" + "x" * 43, "lading_personal_\u00fc"]
)
async def test_what_is_no_token(client: Client, token: str) -> None:
    answer = await ask_token(client, headers=basic("ada", token))
    assert answer.status == 401
    assert "revoked" in answer.json["errors"][0]["message"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PersonalTokens]:
    tokens = PersonalTokens.at(tmp_path / "access" / "personal.db")
    yield tokens
    tokens.close()


def issue(store: PersonalTokens, label: str = "x", now: float = 1000.0) -> bytes:
    return store.issue(ADA, "cred", label=label, now=now, lifetime=100.0).encode()


def test_tokens_end_and_their_use_is_noted(store: PersonalTokens) -> None:
    token = issue(store)
    found = store.find(token, now=1050.0)
    assert found is not None
    assert found.login.ends == 1100.0
    assert [it.used for it in store.of(ADA, now=1050.0)] == [1050]
    assert store.find(token, now=1100.0) is None
    assert store.of(ADA, now=1100.0) == []
    assert store.find(token[:-1], now=1050.0) is None


def test_there_are_not_too_many(store: PersonalTokens) -> None:
    for number in range(MOST):
        issue(store, str(number))
    with pytest.raises(TooManyTokensError):
        issue(store)
    issue(store, now=1200.0)


def test_groups_follow_the_last_login(store: PersonalTokens) -> None:
    person = Identity(Kind.OUTSIDE, "corp/ada", ("corp/dev", "corp/ops"))
    token = store.issue(person, "cred", label="x", now=0.0, lifetime=100.0).encode()
    found = store.find(token, now=1.0)
    assert found is not None
    assert found.identity == person
    store.regroup(replace(person, groups=("corp/dev",)))
    again = store.get(found.id, now=1.0)
    assert again is not None
    assert again.identity.groups == ("corp/dev",)
    assert store.revoke_all(person) == 1


def test_no_secret_is_kept(store: PersonalTokens, tmp_path: Path) -> None:
    token = issue(store)
    with sqlite3.connect(tmp_path / "access" / "personal.db") as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert token.decode() not in dump
    assert (tmp_path / "access" / "personal.db").stat().st_mode & 0o077 == 0


def test_every_worker_knows_of_the_end(tmp_path: Path) -> None:
    """A store that another process writes: the workers of a real service ask it themselves."""
    users = users_file(tmp_path / "users", "ada")
    (entry,) = [line for line in users.read_text().splitlines() if line.startswith("ada:")]
    credential = fingerprint(entry.partition(":")[2].encode())
    with service(tmp_path, f'[access]\nhtpasswd = "{users}"\n', workers=3) as running:
        store = PersonalTokens.at(tmp_path / "store" / "access" / "personal.db")
        now = time.time()
        token = store.issue(ADA, credential, label="x", now=now, lifetime=600.0)
        status, _, body = call(
            running.port, "GET", "/auth/token?scope=repository:a:pull", headers=basic("x", token)
        )
        assert status == 200
        ours = bearer(json.loads(body)["token"])

        def answers() -> set[int]:
            found = [call(running.port, "GET", "/v2/a/tags/list", headers=ours) for _ in range(9)]
            return {answer[0] for answer in found}

        assert answers() == {404}
        (known,) = store.of(ADA, now=now)
        assert store.revoke(ADA, known.id)
        store.close()
        eventually(lambda: answers() == {401}, 60)
        refused, _, _ = call(running.port, "GET", "/auth/token", headers=basic("x", token))
        assert refused == 401
