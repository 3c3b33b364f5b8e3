"""The pages in Chromium: wide and narrow, light and dark, and with the keyboard alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry.access.settings import AccessSettings
from tests.conftest import require_program
from tests.lading.report.browser import Tab, browser
from tests.lading.report.test_browser import CONTRAST, NARROW, OVERFLOW, WIDE
from tests.registry.access_kit import basic, users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client
from tests.registry.web.webkit import image_config, push_image, push_index

pytestmark = pytest.mark.peer

LONG = "/".join(["organisation-" + "x" * 40] * 4)
HOSTILE = '"><script>document.title="owned"</script>' + "y" * 300
TAB, ENTER = 9, 13


@pytest.fixture
async def client(start: StartRegistry, tmp_path: Path) -> Client:
    """A registry that everybody may read, with long names and hostile content."""
    users = users_file(tmp_path / "users", "ada")
    client = await start(access=AccessSettings(htpasswd=users, anonymous_pull=True))
    client.headers |= basic("ada")
    config = image_config(
        "ADD rootfs /", HOSTILE, config={"Env": [HOSTILE], "Labels": {HOSTILE: HOSTILE}}
    )
    raw = await push_image(client, LONG, "v" * 128, config=config, layers=[b"a" * 900, b"b"])
    await push_image(client, LONG, "other", config=image_config("ADD /"), layers=[b"c"])
    await push_index(client, LONG, "all", {"amd64": raw}, annotations={"a": HOSTILE})
    return client


PAGES = (
    "/",
    "/?q=nothing",
    f"/web/repository/{LONG}",
    f"/web/image/{LONG}:{'v' * 128}",
    f"/web/image/{LONG}:all",
    f"/web/compare/{LONG}?a=other&b={'v' * 128}",
    f"/web/history/{LONG}:other",
    "/web/usage",
    "/web/login",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_every_page_fits_and_can_be_read(
    client: Client, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    async with browser(require_program("chromium"), tmp_path) as tab:
        for path in PAGES:
            await tab.open(client.base + path, width=size[0], height=size[1], scheme=scheme)
            assert await tab.evaluate(OVERFLOW) <= 0, path
            assert await tab.evaluate(CONTRAST) >= 4.5, path
            assert await tab.evaluate("document.scripts.length") == 0
            assert await tab.evaluate("document.title") != "owned"
            ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(255, 255, 255)") == (scheme == "light"), "the style is applied"
            assert tab.complaints == [], path


async def test_login_and_deletion_with_the_keyboard_alone(client: Client, tmp_path: Path) -> None:
    async with browser(require_program("chromium"), tmp_path) as tab:
        address = f"{client.base}/web/delete/{LONG}:other"
        await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        await tab.open(address, width=WIDE[0], height=WIDE[1], scheme="light")
        assert "/web/login?next=" in await tab.evaluate("location.href")
        # A field gets the focus with the first picture, which may come after the page has loaded.
        async with asyncio.timeout(60):
            while await tab.evaluate("document.activeElement.id") != "user":
                await asyncio.sleep(0.02)
        await tab.type("ada")
        await tab.press("Tab", TAB)
        await tab.type("adaada")
        await tab.press("Enter", ENTER)
        await tab.loaded()
        assert await tab.evaluate("location.href") == address
        assert await tab.evaluate("document.cookie") == "", "scripts see no session"
        await _tab_to(tab, "Delete")
        await tab.press("Enter", ENTER)
        await tab.loaded()
        assert await tab.evaluate("location.pathname") == f"/web/repository/{LONG}"
        assert "other" not in await tab.evaluate("document.querySelector('table').innerText")
        await _tab_to(tab, "Log out")
        await tab.press("Enter", ENTER)
        await tab.loaded()
        assert "Log in" in await tab.evaluate("document.querySelector('.who').innerText")
        assert tab.complaints == []


async def _tab_to(tab: Tab, text: str) -> None:
    for _ in range(40):
        await tab.press("Tab", TAB)
        words = await tab.evaluate(
            "document.activeElement.tagName + document.activeElement.innerText"
        )
        if words.startswith("BUTTON" + text):
            return
    raise AssertionError(f"no button {text} within reach")
