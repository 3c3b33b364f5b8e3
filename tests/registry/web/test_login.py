"""Logins in browsers: who sees what, how long, and what another site can do about it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from registry.access.settings import AccessSettings, AuditSettings
from tests.registry.access_kit import basic, bearer, rule, token_for, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client
from tests.registry.web.webkit import Browser, image_config, links, parse, push_image

RULES = (
    rule("ada/** shared", "*", users=("ada",)),
    rule("bob/** shared", "pull,push", users=("bob",)),
    rule("open/**", "pull", users=("*",), anonymous=True),
    rule("open/**", "push", users=("ada",)),
)
PLACES = ("ada/app", "bob/app", "open/app", "shared")


@pytest.fixture
async def site(start: StartRegistry, tmp_path: Path) -> Client:
    """A registry with two users and four repositories."""
    users = users_file(tmp_path / "users", "ada", "bob")
    client = await start(access=AccessSettings(htpasswd=users, rules=RULES))
    for name, owner in zip(PLACES, ("ada", "bob", "ada", "ada"), strict=True):
        pusher = dataclasses.replace(client, headers=basic(owner))
        await push_image(pusher, name, "1", config=image_config("ADD x"), layers=[name.encode()])
    return client


async def names(browser: Browser) -> list[str]:
    return [th.text for th in (await browser.get("/")).all("th", scope="row")]


async def test_everybody_sees_what_they_may_pull(site: Client) -> None:
    browser = Browser(site)
    assert await names(browser) == ["open/app"]
    await browser.log_in("ada")
    assert await names(browser) == ["ada/app", "open/app", "shared"]
    other = Browser(site)
    await other.log_in("bob")
    assert await names(other) == ["bob/app", "open/app", "shared"]
    for query in ("app", "ada*", "*"):
        page = await other.get(f"/?q={query}")
        assert "ada/app" not in page.text, query


async def test_a_login_goes_on_where_it_was_asked_for(site: Client) -> None:
    browser = Browser(site)
    answer = await browser.send("GET", "/web/image/ada/app:1")
    assert answer.status == 303
    form = (await browser.get(answer.headers["Location"])).one("form", **{"class": "login"})
    answer = await browser.submit(form, user="ada", password="adaada")
    assert (answer.status, answer.headers["Location"]) == (303, "/web/image/ada/app:1")
    assert "ada/app" in (await browser.get(answer.headers["Location"])).text


async def test_what_is_not_there_and_what_is_not_shown_are_alike(site: Client) -> None:
    browser = Browser(site)
    await browser.log_in("bob")
    bodies = set()
    for name in ("ada/app", "ada/xyz"):
        answers = [
            await browser.send("GET", path)
            for path in (
                f"/web/repository/{name}",
                f"/web/image/{name}:1",
                f"/web/history/{name}:1",
                f"/web/compare/{name}?a=1&b=1",
                f"/web/delete/{name}:1",
            )
        ]
        assert {answer.status for answer in answers} == {404}
        bodies.add(b"".join(answer.body.replace(name.encode(), b"") for answer in answers))
    assert len(bodies) == 1
    strangers = [await site.send("GET", f"/web/image/{name}:1") for name in ("ada/app", "ada/xyz")]
    assert [answer.status for answer in strangers] == [303, 303]


async def test_layers_name_only_repositories_that_are_shown(site: Client) -> None:
    pusher = dataclasses.replace(site, headers=basic("ada"))
    for name in ("ada/one", "shared"):
        await push_image(pusher, name, "2", config=image_config("ADD y"), layers=[b"same"])
    browser = Browser(site)
    await browser.log_in("bob")
    assert "ada/one" not in (await browser.get("/web/image/shared:2")).text
    owner = Browser(site)
    await owner.log_in("ada")
    assert "ada/one" in (await owner.get("/web/image/shared:2")).text


async def test_names_of_users_are_for_users(site: Client) -> None:
    browser = Browser(site)
    for path in ("/web/repository/open/app", "/web/history/open/app:1"):
        assert "ada" not in (await browser.get(path)).one("table").text
    await browser.log_in("bob")
    for path in ("/web/repository/open/app", "/web/history/open/app:1"):
        assert "ada" in (await browser.get(path)).one("table").text


async def test_cookies_are_out_of_reach(site: Client) -> None:
    browser = Browser(site)
    answer = await browser.log_in("ada")
    (line,) = answer.headers.getall("Set-Cookie")  # type: ignore[attr-defined]
    attributes = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= attributes
    assert "secure" not in attributes, "this registry speaks plain HTTP"


async def test_behind_tls_cookies_are_secure(start: StartRegistry, tmp_path: Path) -> None:
    users = users_file(tmp_path / "users", "ada")
    access = AccessSettings(htpasswd=users, public_url="https://registry.example")
    browser = Browser(await start(access=access))
    answer = await browser.log_in("ada")
    (line,) = answer.headers.getall("Set-Cookie")  # type: ignore[attr-defined]
    assert line.startswith("__Host-lading-session=")
    assert "secure" in {part.strip().lower() for part in line.split(";")}


async def test_logging_out_ends_it(site: Client) -> None:
    browser = Browser(site)
    await browser.log_in("ada")
    page = await browser.get("/")
    answer = await browser.submit(page.one("form", method="post"))
    assert answer.status == 303
    assert await names(browser) == ["open/app"]


async def test_a_new_password_ends_the_session(site: Client, tmp_path: Path) -> None:
    browser = Browser(site)
    await browser.log_in("ada")
    assert "ada/app" in await names(browser)
    users_file(tmp_path / "users", "ada", "bob")
    for _ in range(600):
        if "ada/app" not in await names(browser):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the session outlived its password")


async def test_a_wrong_password_is_told_and_then_delayed(site: Client) -> None:
    browser = Browser(site)
    statuses = []
    # The delay begins with half a second and grows; a busy machine may be slower than its first.
    for number in range(14):
        form = (await browser.get("/web/login")).one("form", **{"class": "login"})
        answer = await browser.submit(form, user="ada", password=f"wrong{number}")
        statuses.append(answer.status)
        if answer.status != 403:
            break
    assert statuses[0] == 403
    assert "do not fit" in parse(answer).text or statuses[-1] == 429
    assert statuses[-1] == 429
    assert "Retry-After" in answer.headers
    assert "lading-session" not in browser.cookies


async def test_sessions_and_tokens_do_not_stand_for_each_other(site: Client) -> None:
    browser = Browser(site)
    await browser.log_in("ada")
    session = browser.cookies["lading-session"]
    answer = await site.send("GET", "/v2/ada/app/tags/list", headers=bearer(session))
    assert answer.status == 401
    token = await token_for(site, "ada", "repository:ada/app:pull")
    thief = Browser(site, {"lading-session": token["Authorization"].partition(" ")[2]})
    assert await names(thief) == ["open/app"]
    forged = Browser(site, {"lading-session": session[:-4] + "AAAA"})
    assert await names(forged) == ["open/app"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_form_of_another_site_is_refused(site: Client, headers: dict[str, str]) -> None:
    browser = Browser(site)
    form = (await browser.get("/web/login")).one("form", **{"class": "login"})
    fields = {it.attrs["name"]: it.attrs["value"] for it in form.all("input", type="hidden")}
    answer = await browser.post(
        "/web/login", {**fields, "user": "ada", "password": "adaada"}, **headers
    )
    assert answer.status == 403
    assert "another site" in parse(answer).text
    assert "lading-session" not in browser.cookies


async def test_a_form_without_its_token_is_refused(site: Client) -> None:
    browser = Browser(site)
    page = await browser.get("/web/login")
    stranger = Browser(site)
    await stranger.get("/web/login")
    hidden = page.one("form", **{"class": "login"}).one("input", name="token").attrs["value"]
    fields = {"user": "ada", "password": "adaada"}
    for who, token in ((browser, ""), (browser, "0" * 64), (stranger, hidden), (Browser(site), "")):
        answer = await who.post("/web/login", {**fields, "token": token})
        assert answer.status == 403
        assert "lading-session" not in who.cookies


async def test_deleting_takes_the_right_a_page_and_a_form(site: Client) -> None:
    owner = Browser(site)
    await owner.log_in("ada")
    assert "/web/delete/shared:1" in links(await owner.get("/web/repository/shared"))
    other = Browser(site)
    await other.log_in("bob")
    assert "/web/delete/shared:1" not in links(await other.get("/web/repository/shared"))
    assert (await other.send("GET", "/web/delete/shared:1")).status == 403
    page = await owner.get("/web/delete/shared:1")
    form = page.one("form", **{"class": "confirm"})
    fields = {it.attrs["name"]: it.attrs["value"] for it in form.all("input")}
    for who, sent, status in (
        (other, fields, 403),
        (Browser(site), fields, 403),
        (owner, {**fields, "token": ""}, 403),
        (owner, {**fields, "digest": "sha256:" + "0" * 64}, 412),
    ):
        assert (await who.post("/web/delete/shared:1", sent)).status == status
    own = Browser(site, dict(other.cookies))
    token = (await own.get("/")).one("form", method="post").one("input", name="token")
    sent = {**fields, "token": token.attrs["value"]}
    assert (await own.post("/web/delete/shared:1", sent)).status == 403
    assert (await owner.send("GET", "/web/image/shared:1")).status == 200
    answer = await owner.submit(form)
    assert (answer.status, answer.headers["Location"]) == (303, "/web/repository/shared")
    assert (await owner.send("GET", "/web/image/shared:1")).status == 404
    assert "deleted" in (await owner.get("/web/history/shared:1")).text
    assert (await owner.submit(form)).status == 404


async def test_a_manifest_goes_with_its_tags(site: Client) -> None:
    owner = Browser(site)
    await owner.log_in("ada")
    page = await owner.get("/web/delete/ada/app:1")
    onward = next(link for link in links(page) if link.startswith("/web/delete/"))
    page = await owner.get(onward)
    assert "tag 1" in page.text
    assert (await owner.submit(page.one("form", **{"class": "confirm"}))).status == 303
    assert "No manifest has a tag" in (await owner.get("/web/repository/ada/app")).text


@pytest.mark.parametrize("setting", [{"allow_delete": False}, {"read_only": True}])
async def test_no_deletion_where_it_is_switched_off(
    start: StartRegistry, setting: dict[str, bool]
) -> None:
    client = await start()
    await push_image(client, "a", "1", config=image_config("ADD x"), layers=[b"x"])
    await client.session.close()
    again = await start(**setting)
    browser = Browser(again)
    assert "/web/delete/a:1" not in links(await browser.get("/web/repository/a"))
    assert (await browser.send("GET", "/web/delete/a:1")).status == 405


async def test_nothing_open_to_anybody_asks_for_a_login(
    start: StartRegistry, tmp_path: Path
) -> None:
    users = users_file(tmp_path / "users", "ada")
    client = await start(access=AccessSettings(htpasswd=users))
    for path in ("/", "/web/usage", "/web/repository/a"):
        answer = await client.send("GET", path)
        assert answer.status == 303
        assert urlsplit(answer.headers["Location"]).path == "/web/login"


async def test_deletions_and_logins_are_in_the_audit_log(
    start: StartRegistry, tmp_path: Path
) -> None:
    users, path = users_file(tmp_path / "users", "ada"), tmp_path / "audit.log"
    client = await start(
        access=AccessSettings(htpasswd=users, rules=RULES, audit=AuditSettings(path=path))
    )
    pusher = dataclasses.replace(client, headers=basic("ada"))
    await push_image(pusher, "ada/app", "1", config=image_config("ADD x"), layers=[b"x"])
    owner = Browser(client)
    await owner.log_in("ada")
    form = (await owner.get("/web/delete/ada/app:1")).one("form", **{"class": "confirm"})
    for _ in range(2):
        await owner.submit(form)
    await client.session.close()
    events: list[dict[str, object]] = []
    async with asyncio.timeout(60):
        while len(events) < 2:
            await asyncio.sleep(0.05)
            # A line that is not whole yet has no end.
            events = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
            events = [event for event in events if event["event"] in ("token", "delete")]
    token, deletion = events
    assert (token["who"], token["allowed"]) == ("user:ada", True)
    assert (deletion["who"], deletion["reference"]) == ("user:ada", "1")
    assert deletion["rule"] == "rules[0]"


async def test_bytes_that_are_no_text_do_no_harm(site: Client) -> None:
    browser = Browser(site)
    for text in ("%ff", "%ed%a0%80", "%00", "%f0%9f"):
        for path in (
            f"/?q={text}&last={text}",
            f"/?q={text}*",
            f"/web/repository/open/app?q={text}&last={text}",
            f"/web/repository/open/app?last={text}~{text}",
            f"/web/image/open/app:1?attached={text}",
        ):
            assert (await browser.send("GET", path)).status == 200, path
    cookies = {"lading-session": "\xff\xfe", "lading-form": "a.b.c"}
    assert await names(Browser(site, cookies)) == ["open/app"]
