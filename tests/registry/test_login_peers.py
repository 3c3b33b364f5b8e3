"""Logins at a real OpenID provider: dex, with its own pages, tokens and refusals."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from registry.access.settings import AccessSettings, AuditSettings
from tests.conftest import require_program
from tests.lading.report.browser import Tab, browser
from tests.lading.report.test_browser import CONTRAST, OVERFLOW
from tests.ports import free_port
from tests.registry.access_kit import ask_token, basic, bearer, rule, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Answer, Client
from tests.registry.login_kit import SECRET, Dex, begin, dex, need_dex, through_dex
from tests.registry.web.webkit import Browser, parse

pytestmark = pytest.mark.peer

WIDE = (1280, 900)
CALLBACK = "/auth/oidc/corp/callback"


@pytest.fixture
async def client(start: StartRegistry, tmp_path: Path) -> AsyncIterator[Client]:
    """A registry where dex's group ``dev`` may push team/**, and ada of the htpasswd file, too."""
    need_dex()
    async with AsyncExitStack() as stack:
        yield await _started(stack, start, tmp_path)


async def _started(
    stack: AsyncExitStack, start: StartRegistry, folder: Path, *, public: bool = False
) -> Client:
    there = Dex(free_port())
    secret = folder / "secret"
    secret.write_text(SECRET)
    rules = (
        rule("team/**", "pull,push", groups=("corp/dev",)),
        rule("own/**", "*", users=("ada",), outside=("corp/bob@example.org",)),
    )
    access = AccessSettings(
        users_file(folder / "users", "ada"),
        rules=rules,
        issuer=(there.settings(None if public else secret),),
        audit=AuditSettings(folder / "audit.log"),
    )
    client = await start(access=access)
    # Another site than dex's, as on the Internet.
    client.base = client.base.replace("127.0.0.1", "localhost")
    await asyncio.to_thread(
        stack.enter_context,
        dex(folder, client.base + CALLBACK, port=there.port, public=public),
    )
    return client


async def back(client: Client, visitor: Browser, name: str) -> Answer:
    """Log in at dex, and come back."""
    sent = await begin(visitor)
    address = await through_dex(sent.address, name, client.base)
    parts = urlsplit(address)
    return await visitor.send("GET", f"{parts.path}?{parts.query}")


async def test_people_of_dex_log_in_with_their_groups(client: Client) -> None:
    visitor = Browser(client)
    answer = await back(client, visitor, "ada")
    assert answer.status == 200, answer
    assert "corp/ada@example.org" in parse(answer).text
    client.headers |= basic("ada")
    await client.push_image("own/app", "1")
    client.headers.clear()
    page = await visitor.get("/")
    assert "own/app" not in page.text
    assert (await visitor.send("GET", "/web/repository/own/app")).status == 404
    token = await new_token(visitor)
    client.headers |= basic("anything", token)
    await client.push_image("team/app", "1")
    client.headers.clear()
    assert "team/app" in (await visitor.get("/")).text
    other = Browser(client)
    assert (await back(client, other, "bob")).status == 200
    page = await other.get("/")
    assert "own/app" in page.text
    assert "team/app" not in page.text


async def test_a_public_client_has_no_secret(start: StartRegistry, tmp_path: Path) -> None:
    need_dex()
    async with AsyncExitStack() as stack:
        client = await _started(stack, start, tmp_path, public=True)
        assert (await back(client, Browser(client), "ada")).status == 200


async def test_dex_takes_a_code_once(client: Client) -> None:
    visitor = Browser(client)
    sent = await begin(visitor)
    cookies = dict(visitor.cookies)
    parts = urlsplit(await through_dex(sent.address, "ada", client.base))
    path = f"{parts.path}?{parts.query}"
    assert (await visitor.send("GET", path)).status == 200
    # The very same browser state, as of before: somebody has copied all of it.
    answer = await Browser(client, cookies).send("GET", path)
    assert answer.status == 403
    assert "its token endpoint refuses: invalid_grant" in parse(answer).text


async def new_token(visitor: Browser, label: str = "my laptop", days: str = "7") -> str:
    page = await visitor.get("/web/tokens")
    form = page.one("form", **{"class": "login"})
    answer = await visitor.submit(form, label=label, days=days)
    assert answer.status == 200, answer
    return parse(answer).one("code", id="token").text


async def test_a_token_is_listed_and_taken_back(client: Client) -> None:
    visitor = Browser(client)
    await back(client, visitor, "ada")
    token = await new_token(visitor)
    answer = await ask_token(
        client, "repository:team/app:pull,push", headers=basic("x", token), offline_token="true"
    )
    assert answer.status == 200
    assert "refresh_token" not in answer.json, "it would outlive the token"
    ours = bearer(answer.json["token"])
    assert (await client.send("GET", "/v2/team/app/tags/list", headers=ours)).status == 404
    page = await visitor.get("/web/tokens")
    row = page.one("tbody").one("tr")
    assert row.one("th").text == "my laptop"
    assert "just now" in row.text
    assert "never" not in row.text, "it was used"
    await visitor.submit(row.one("form"))
    assert "You have no tokens" in (await visitor.get("/web/tokens")).text
    refused = await ask_token(client, headers=basic("x", token))
    assert refused.status == 401
    assert "revoked" in refused.json["errors"][0]["message"]

    async def over() -> bool:
        return (await client.send("GET", "/v2/team/app/tags/list", headers=ours)).status == 401

    async with asyncio.timeout(20):
        while not await over():
            await asyncio.sleep(0.05)


async def test_skopeo_and_docker_take_the_command(client: Client, tmp_path: Path) -> None:
    visitor = Browser(client)
    await back(client, visitor, "ada")
    page = await visitor.get("/web/tokens")
    answer = await visitor.submit(page.one("form", **{"class": "login"}), label="x", days="1")
    page = parse(answer)
    token, command = page.one("code", id="token").text, page.one("code", id="command").text
    host = client.base.removeprefix("http://")
    assert command == f"docker login {host} -u corp/ada@example.org"
    skopeo = require_program("skopeo")
    done = await asyncio.to_thread(
        partial(
            subprocess.run,
            [skopeo, *command.split()[1:], "--password-stdin", "--tls-verify=false"],
            input=token,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": "/usr/bin:/bin", "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")},
        )
    )
    assert done.returncode == 0, done.stderr


async def test_the_whole_login_in_a_browser(client: Client, tmp_path: Path) -> None:
    """Between two sites, without scripts on our side, and on to the page that was asked for."""
    async with browser(require_program("chromium"), tmp_path) as tab:
        address = f"{client.base}/web/usage"
        await tab.open(
            f"{client.base}/web/login?next=/web/usage",
            width=WIDE[0],
            height=WIDE[1],
            scheme="light",
        )
        await tab.picture(tmp_path / "login.png")
        await _follow(tab, "Log in with dex", "document.querySelector('input[name=password]')")
        assert "127.0.0.1" in await tab.evaluate("location.host")
        await tab.evaluate("document.querySelector('input[name=login]').focus()")
        await tab.type("ada@example.org")
        await tab.evaluate("document.querySelector('input[name=password]').focus()")
        await tab.type("ada")
        await tab.press("Enter", 13)
        await _until(tab, f"location.href == {address!r} && document.querySelector('.who')")
        assert "corp/ada@example.org" in await tab.evaluate(
            "document.querySelector('.who').innerText"
        )
        await tab.picture(tmp_path / "in.png")
        await _follow(tab, "corp/ada@example.org", "document.querySelector('#label')")
        await tab.evaluate("document.querySelector('#label').focus()")
        await tab.type("my laptop")
        await tab.press("Enter", 13)
        await _until(tab, "document.querySelector('#token')")
        token = await tab.evaluate("document.querySelector('#token').innerText")
        assert token.startswith("lading_personal_")
        await tab.picture(tmp_path / "token.png")
        ours = [it for it in tab.complaints if client.base in it and "it loads" not in it]
        assert ours == []
        for width in (1280, 360):
            for path in ("/web/tokens", "/auth/oidc/corp/callback"):
                for scheme in ("light", "dark"):
                    await tab.open(client.base + path, width=width, height=900, scheme=scheme)
                    assert await tab.evaluate(OVERFLOW) <= 0, path
                    buttons = await tab.evaluate("document.querySelectorAll('a.button').length")
                    assert buttons or await tab.evaluate(CONTRAST) >= 4.5, path
                    await tab.picture(tmp_path / f"{path.rpartition('/')[2]}-{width}-{scheme}.png")
        await tab.open(f"{client.base}/web/tokens", width=1280, height=900, scheme="light")
        assert (await ask_token(client, headers=basic("x", token))).status == 200
        await tab.evaluate("document.querySelector('.who button').click()")
        await _until(tab, "location.pathname == '/web/login'")


async def _follow(tab: Tab, text: str, then: str) -> None:
    """Click a link as a person does, and wait for what is behind it."""
    found = await tab.evaluate(
        "(() => { for (const it of document.querySelectorAll('a')) if (it.innerText.includes("
        f"{text!r})) {{ it.click(); return true; }} return false; }})()"
    )
    assert found, text
    await _until(tab, then)


async def _until(tab: Tab, condition: str) -> None:
    """Wait for a page that is the right one and is complete, over any number of redirects."""
    async with asyncio.timeout(60):
        while True:
            # A page that is just left has no answer.
            with suppress(AssertionError):
                if await tab.evaluate(f"document.readyState == 'complete' && !!({condition})"):
                    return
            await asyncio.sleep(0.05)
