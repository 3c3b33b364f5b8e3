"""Abuse 25: whoever may push writes what pages show, and whoever makes links where they lead.

Every text of an image is a text on a page, never markup, a script, or an address.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from images.mediatype import OCI_EMPTY, OCI_MANIFEST
from registry.access.settings import AccessSettings
from registry.web.paths import local_path
from tests.registry.access_kit import users_file
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, descriptor, manifest, replaced
from tests.registry.web.webkit import (
    Browser,
    Element,
    image_config,
    links,
    parse,
    push_image,
    push_index,
)

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'\"--></title></style></textarea><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% import 'os' as os %}",
    "\u202e\u2066gnp.exe\u2069 \x1b[31m \x00 \u200b",
)
ELSEWHERE = (
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "/web//evil.example",
    "/web/\t/evil.example",
    "javascript:alert(1)",
    "/%0d%0aSet-Cookie:a=b",
    "/web/x\r\nSet-Cookie: a=b",
    "/v2/_catalog",
    "web/usage",
    " /web/usage",
    "/web/@evil.example/..//x",
    "/web/" + "a" * 3000,
)


def _is_tame(page: Element) -> None:
    """``parse`` has refused scripts, handlers and styles; here is what is left."""
    assert not page.all("img", "textarea")
    assert all(link.startswith("/") and not link.startswith("//") for link in links(page))
    shown = page.text
    for letter in "\u202e\u2066\u200b\x1b\x00":
        assert letter not in shown
    for element in page.all():
        assert all("\u202e" not in value for value in element.attrs.values())
    assert "49" not in shown.replace("{{ 7*7 }}", "").split()


async def _push_evil(client: Client) -> bytes:
    texts = {attack: attack for attack in ATTACKS}
    config = image_config(
        *(f"#{attack}" for attack in ATTACKS),
        "RUN <b>bold</b>",
        author=ATTACKS[0],
        created=ATTACKS[1],
        config={
            "Env": [f"A={attack}" for attack in ATTACKS],
            "Cmd": list(ATTACKS),
            "User": ATTACKS[1],
            "Labels": texts,
            "ExposedPorts": {attack: {} for attack in ATTACKS},
            "WorkingDir": {"not": "a string"},
            "Entrypoint": 7,
        },
    )
    raw = await push_image(client, "evil", "1", config=config, layers=[b"layer"], annotations=texts)
    await client.push_blob("evil", b"{}")
    for attack in ATTACKS:
        attached = replaced(
            manifest(),
            config=descriptor(b"{}", OCI_EMPTY),
            artifactType="text/evil",
            subject=descriptor(raw, OCI_MANIFEST),
            annotations={attack: attack},
        )
        await client.push_manifest("evil", attached)
    await push_index(client, "evil", "all", {"<b>amd64</b>": raw}, annotations=texts)
    other = image_config("RUN <i>", config={"Env": ["A=<script>"], "Labels": {"<u>": "<u>"}})
    await push_image(client, "evil", "2", config=other, layers=[b"other"])
    return raw


async def test_abuse_25_what_images_say_is_text(client: Client) -> None:
    await _push_evil(client)
    browser = Browser(client)
    seen = ""
    for path in (
        "/",
        "/web/repository/evil",
        "/web/image/evil:1",
        "/web/image/evil:all",
        "/web/history/evil:1",
        "/web/compare/evil?a=1&b=2",
        "/web/delete/evil:1",
        "/web/usage",
    ):
        page = await browser.get(path)
        _is_tame(page)
        seen += page.text
    assert "<script>alert(1)</script>" in seen, "it is shown as what it is"
    assert "onerror=alert(1)" in seen


@pytest.mark.parametrize("attack", ATTACKS)
async def test_abuse_25_what_addresses_say_is_text(client: Client, attack: str) -> None:
    await push_image(client, "a", "1", config=image_config("ADD x"), layers=[b"x"])
    text = quote(attack, safe="")
    for path in (
        f"/?q={text}&last={text}",
        f"/web/repository/a?q={text}&last={text}",
        f"/web/repository/a?order={text}&last={text}",
        f"/web/image/a:{text}",
        f"/web/image/a:1?attached={text}",
        f"/web/repository/{text}",
        f"/web/compare/a?a={text}&b={text}",
        f"/web/compare/a?a=1&b=1&platform={text}",
        f"/web/login?next={text}",
        f"/web/{text}",
    ):
        answer = await client.send("GET", path)
        assert answer.status in (200, 303, 400, 404), path
        if answer.status != 303:
            page = parse(answer)
            assert not page.all("img", "script")
            assert all(link.startswith("/") and link[1:2] != "/" for link in links(page))


@pytest.mark.parametrize("onward", ELSEWHERE)
def test_abuse_25_a_login_leads_to_pages_of_ours(onward: str) -> None:
    assert local_path(onward) == "/"


@pytest.mark.parametrize("onward", ELSEWHERE)
async def test_abuse_25_a_login_leads_nowhere_else(
    start: StartRegistry, tmp_path: Path, onward: str
) -> None:
    users = users_file(tmp_path / "users", "ada")
    browser = Browser(await start(access=AccessSettings(htpasswd=users)))
    form = (await browser.get("/web/login")).one("form", **{"class": "login"})
    fields = {it.attrs["name"]: it.attrs["value"] for it in form.all("input", type="hidden")}
    answer = await browser.post(
        "/web/login", {**fields, "user": "ada", "password": "adaada", "next": onward}
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_abuse_25_pages_of_ours_are_led_to() -> None:
    for onward in (
        "/",
        "/?q=team%2F&last=a",
        "/web/usage",
        "/web/image/team/app:1.0_x-y",
        "/web/image/team/app@sha256:" + "0" * 64,
        "/web/repository/a?order=name&last=1763~v1",
    ):
        assert local_path(onward) == onward
